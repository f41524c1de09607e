"""Which parked letters go back into their tenant's lane now: pure, with the clock and what is known as arguments.

A tenant whose database does not take records is tried with a letter at a time, less and less often; any other gets its
letters back as fast as its workers settle them. Invariants: nothing is moved while the tenant wants it buffered,
and never more of one tenant than its lane has room for, so that returning disturbs nobody.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

import msgspec

from sluice_core.envelope import Submission, encode_submission
from sluice_core.letter import StoredLetter
from sluice_core.limits import KIB, MIB
from sluice_core.tenant import TenantConfig

FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 30.0
MOST_TRIED = 64
RETURN_BYTES = 32 * KIB
MOST_IN_LANE = 16 * MIB
"""Bytes of one tenant that are waiting in its lane while more of it is put there."""
_SECOND = 1_000_000_000


class Turn(NamedTuple):
    """A tenant some of whose letters may go back."""

    tenant: TenantConfig
    trial: int = 0
    """Only so many of the oldest, to see whether the database takes them; 0: all that are due."""


class _Trial(NamedTuple):
    """The last one of a tenant."""

    letters: int
    left: int
    """How many letters there are afterwards if none comes back."""
    wait: float
    next: float


class Trials:
    """How tenants of whom a worker says that they are refused are tried: pure, in seconds of one monotonic clock.

    One letter after 1, 2, 4 and so on seconds while it comes back; twice as many each time none does, since a worker
    that was refused knows no better until it is given something of the tenant, and which one gets it is chance.
    """

    def __init__(self) -> None:
        self._last: dict[str, _Trial] = {}

    def due(self, tenant_id: str, parked: int, now: float) -> int:
        """How many of the `parked` letters may be tried now; whoever asks will."""
        last = self._last.get(tenant_id)
        if last is None:
            letters, wait = 1, FIRST_WAIT_SECONDS
        elif now < last.next:
            return 0
        elif parked <= last.left:
            letters, wait = min(2 * last.letters, MOST_TRIED), FIRST_WAIT_SECONDS
        else:
            letters, wait = 1, min(2 * last.wait, LONGEST_WAIT_SECONDS)
        self._last[tenant_id] = _Trial(letters, parked - letters, wait, now + wait)
        return letters

    def keep_only(self, refused: Collection[str]) -> None:
        """Whoever is not refused any more starts from the beginning when it is again."""
        self._last = {tenant_id: last for tenant_id, last in self._last.items() if tenant_id in refused}


def plan(
    parked: Mapping[str, int],
    find: Callable[[str], TenantConfig | None],
    refused: Collection[str],
    backlog: Callable[[str], int],
    trials: Trials,
    now: float,
) -> list[Turn]:
    """Whose turn it is. `parked` is the number of letters by tenant, `refused` who live workers say is refused.

    What belongs to a tenant that is unknown or gone stays where it is: whoever deletes the tenant decides about it.
    """
    trials.keep_only(refused)
    turns: list[Turn] = []
    for tenant_id, letters in parked.items():
        tenant = find(tenant_id)
        if not letters or tenant is None or tenant.state == "gone" or tenant.suspension == "Buffer":
            continue
        if not has_room(tenant, backlog(tenant_id)):
            continue
        if tenant_id not in refused:
            turns.append(Turn(tenant))
        elif trial := trials.due(tenant_id, letters, now):
            turns.append(Turn(tenant, trial))
    return turns


def has_room(tenant: TenantConfig, backlog: int) -> bool:
    """Whether more of the tenant may be put into its lane."""
    return backlog < min(MOST_IN_LANE, tenant.limits.max_backlog_bytes)


def is_due(attempts: int, stored_at: int, now: int) -> bool:
    """Whether a letter that was parked so often may be tried again, times in nanoseconds since the epoch.

    A letter that comes straight back waits twice as long each time. A clock that differs from the broker's can only
    shorten that, never hold a letter for ever.
    """
    if attempts == 0 or stored_at > now:
        return True
    wait = min(2.0 ** min(attempts - 1, 10), LONGEST_WAIT_SECONDS)
    return now - stored_at >= wait * _SECOND


class Return(NamedTuple):
    """What of a letter goes back."""

    submissions: list[bytes]
    size: int
    """Their bytes together."""
    strangers: int
    """Records of another provisioning of the tenant."""
    stored_at: int
    """When the letter was written, in nanoseconds since the epoch by the broker's clock."""


def take_up(letter: StoredLetter, submissions: list[Submission], tenant: TenantConfig) -> Return:
    """A letter's submissions of this provisioning, encoded, each with the version it was accepted as.

    What ingest buffered was in no lane yet: its version is the place of the letter itself.
    """
    time = read_time(letter.stored_at)
    kept: list[bytes] = []
    strangers = position = 0
    for submission in submissions:
        records = len(submission.records)
        if (submission.tenant_id, submission.uid) != (tenant.tenant_id, tenant.uid):
            strangers += records
        else:
            if submission.accepted_as is None:
                submission = msgspec.structs.replace(
                    submission,
                    accepted_as=(time, letter.sequence),
                    positions=list(range(position, position + records)),
                )
            kept.append(encode_submission(submission))
        position += records
    return Return(kept, sum(map(len, kept)), strangers, time)


def in_parts(submissions: list[bytes]) -> Iterator[list[bytes]]:
    """Submissions for one envelope each time, of RETURN_BYTES at most unless a single one is larger.

    A worker takes an envelope's records of one tenant in one go: the smaller it is, the less its other tenants wait.
    """
    part: list[bytes] = []
    size = 0
    for submission in submissions:
        if part and size + len(submission) > RETURN_BYTES:
            yield part
            part, size = [], 0
        part.append(submission)
        size += len(submission)
    if part:
        yield part


def attempts_of(submissions: list[Submission]) -> int:
    """How often the most tried of these was parked."""
    return max((submission.attempts for submission in submissions), default=0)


def read_time(stamp: str) -> int:
    """Nanoseconds since the epoch from the broker's RFC 3339 in UTC, whose fraction has up to nine digits."""
    whole, _, fraction = stamp.removesuffix("Z").partition(".")
    seconds = int(datetime.fromisoformat(f"{whole}+00:00").timestamp())
    return seconds * _SECOND + int(fraction.ljust(9, "0") or 0)
