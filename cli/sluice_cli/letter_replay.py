"""Putting letters back into their tenant's lane.

A letter is published first and removed after the acknowledgement, so a crash in between leaves both, and the second is
a duplicate: ids and versions travel with the records. Invariants: only what the tenant of now accepted is put back;
and only letters that were there at the beginning, so that one which dies again is not tried for ever.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from enum import Enum
from typing import TYPE_CHECKING

from sluice_cli.letter_filter import LetterFilter
from sluice_cli.letter_search import Tally
from sluice_core.envelope import encode_envelope
from sluice_core.errors import BrokerError, BrokerFull, TenantNotFound
from sluice_core.letter import StoredLetter
from sluice_core.tenant import TenantConfig
from sluice_ingest.returning import take_up

if TYPE_CHECKING:
    from sluice_local.operator_rights import OperatorRights

_CONFIRM_EVERY = 32
"""Letters between two looks at whether the tenant still is who it was, and in which lane."""
_PUBLISH_SECONDS = 5.0


class Obstacle(Enum):
    """Why a letter stays where it is."""

    UNREADABLE = "unreadable"
    OTHER_TENANT = "naming another tenant"
    EARLIER = "of an earlier provisioning of the tenant"


class Outcome:
    """What became, or would become, of the letters that were asked for."""

    def __init__(self, lane: str = "") -> None:
        self.lane = lane
        self.replayed = Tally()
        """Put back."""
        self.obstacles: Counter[Obstacle] = Counter()
        """Left where they are."""
        self.sequences: set[int] = set()
        """Of all that matched."""
        self.stopped = ""
        """Why it ended before the end."""


def replayable(stored: StoredLetter, tenant: TenantConfig) -> bytes | Obstacle:
    """The envelope to publish, or why there is none. Records keep their ids and versions."""
    submissions = stored.submissions()
    if not submissions:
        return Obstacle.UNREADABLE
    if any(submission.tenant_id != tenant.tenant_id for submission in submissions):
        return Obstacle.OTHER_TENANT
    if any(submission.uid != tenant.uid for submission in submissions):
        return Obstacle.EARLIER
    if all(submission.accepted_as for submission in submissions):
        return stored.payload
    # Buffered by ingest, they were never in a lane, and go back as ingest would put them back.
    return encode_envelope(take_up(stored, submissions, tenant).submissions)


class Replay:
    """The replay of one tenant's letters under `subject`, up to sequence `last`."""

    def __init__(
        self, rights: "OperatorRights", tenant_id: str, subject: str, chosen: LetterFilter, *, last: int
    ) -> None:
        self._rights = rights
        self._tenant_id = tenant_id
        self._subject = subject
        self._chosen = chosen
        self._last = last

    async def survey(self) -> Outcome:
        """What a run would do. Raises TenantNotFound, BrokerError."""
        config = await self._tenant()
        outcome = Outcome(config.lane)
        async for stored in self._matching(outcome):
            if self._judge(stored, config, outcome) is not None:
                outcome.replayed.take(stored)
        return outcome

    async def run(self, advance: Callable[[], None]) -> Outcome:
        """Put back what can be; `advance` hears of each letter. Ends early, saying so, when that does not go on."""
        outcome = Outcome()
        try:
            await self._run(outcome, advance)
        except TenantNotFound:
            outcome.stopped = f"tenant {self._tenant_id} is gone"
        except BrokerFull:
            outcome.stopped = f"lane {outcome.lane} is full: let its workers catch up, then run this again"
        except BrokerError as error:
            outcome.stopped = f"{error}: run this again, nothing is stored twice"
        return outcome

    async def _run(self, outcome: Outcome, advance: Callable[[], None]) -> None:
        from sluice_core.edge.letters import remove_letter
        from sluice_core.names import lane_stream, lane_subject

        broker = self._rights.broker
        config: TenantConfig | None = None
        async for stored in self._matching(outcome):
            if config is None or len(outcome.sequences) % _CONFIRM_EVERY == 0:
                config = await self._tenant()
                outcome.lane = config.lane
            payload = self._judge(stored, config, outcome)
            if payload is not None:
                lane = config.lane
                await broker.publish(lane_subject(lane), payload, stream=lane_stream(lane), timeout=_PUBLISH_SECONDS)
                outcome.replayed.take(stored)
                await remove_letter(broker, stored.sequence)
            advance()

    async def _matching(self, outcome: Outcome) -> AsyncIterator[StoredLetter]:
        from sluice_core.edge.letters import walk_letters

        async for stored in walk_letters(self._rights.broker, self._subject, last=self._last):
            if self._chosen.takes(stored):
                outcome.sequences.add(stored.sequence)
                yield stored

    def _judge(self, stored: StoredLetter, config: TenantConfig, outcome: Outcome) -> bytes | None:
        payload = replayable(stored, config)
        if isinstance(payload, bytes):
            return payload
        outcome.obstacles[payload] += 1
        return None

    async def _tenant(self) -> TenantConfig:
        claim = await self._rights.provisioner.find(self._tenant_id)
        if claim.config is None:
            raise TenantNotFound(f"tenant {self._tenant_id} was never completely provisioned: apply it again")
        return claim.config
