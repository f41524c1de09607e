"""Where records go that are not stored: parked for a while, or dead letters for a person, each with its reason.

Invariant: a record counts as set aside only after the broker has its letter on disk; writing one twice is harmless,
since whatever reads letters knows a record by its id and version.
"""

from collections.abc import Sequence

from sluice_core.edge.broker import Broker
from sluice_core.edge.letters import write_letter
from sluice_core.envelope import Submission
from sluice_core.letter import Letter, enclose, version_text
from sluice_core.names import UNREADABLE, dead_letter_subject, parked_subject
from sluice_core.reasons import (
    CRASHED_WORKER,
    REDACTION_FAILED,
    STORE_REFUSES,
    UNENCODABLE_RECORD,
    UNREADABLE_MESSAGE,
    WRITE_REFUSED,
    Reason,
)
from sluice_core.version import Version
from sluice_worker.handle import Message
from sluice_worker.packing import alone
from sluice_worker.sink import Outcome

_BURIED = frozenset(one.code for one in (REDACTION_FAILED, UNENCODABLE_RECORD, WRITE_REFUSED, CRASHED_WORKER))


def is_dead(reason: Reason) -> bool:
    """Whether an outcome with this reason needs a dead letter."""
    return reason.code in _BURIED


class LetterWriter:
    """Writes letters of both kinds. All methods raise BrokerError; BrokerFull where the tenant is at its cap."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def bury(self, outcome: Outcome) -> None:
        """Keep a record for a person."""
        item = outcome.prepared.item
        attempts = item.message.delivery.delivered + item.submission.attempts
        letter, payload = enclose([alone(item)], outcome.reason, outcome.detail, attempts)
        await write_letter(self._broker, dead_letter_subject(letter.tenant_id), letter, payload)

    async def park(self, submissions: Sequence[Submission], detail: str) -> None:
        """Keep records of one tenant, as `pack` made them, until its database takes them."""
        attempts = max(submission.attempts for submission in submissions)
        letter, payload = enclose(submissions, STORE_REFUSES, detail, attempts)
        await write_letter(self._broker, parked_subject(letter.tenant_id), letter, payload)

    async def bury_message(self, message: Message) -> None:
        """Keep a message that is no envelope, whole."""
        delivery = message.delivery
        letter = Letter(
            tenant_id=UNREADABLE,
            reason=UNREADABLE_MESSAGE.code,
            detail=f"from stream {delivery.stream}",
            attempts=delivery.delivered,
            version=version_text(Version(delivery.time, delivery.sequence, 0)),
        )
        await write_letter(self._broker, dead_letter_subject(UNREADABLE), letter, delivery.payload)
