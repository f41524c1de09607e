"""What a message means: pure, from messages to batches of one tenant each.

Invariant: every record of every message ends in exactly one batch or one verdict, so a message is acknowledged only
when all of it has been decided.
"""

from enum import Enum

import msgspec

from sluice_core.edge.pull import Delivery
from sluice_core.envelope import Envelope, Submission, decode_envelope
from sluice_core.tenant import TenantConfig
from sluice_core.version import Version

_RECORD_BYTES = 320
_SUBMISSION_BYTES = 640
"""What a record and a submission take beside their text, measured: of the shortest lines a dozen times the message."""


class Message:
    """A delivered message and how many of its parts are not settled yet."""

    __slots__ = ("delivery", "envelope", "size", "unsettled")

    def __init__(self, delivery: Delivery) -> None:
        self.delivery = delivery
        self.envelope = read_envelope(delivery.payload)
        submissions = [] if self.envelope is None else self.envelope.submissions
        self.unsettled = 1 if self.envelope is None else sum(len(part.records) for part in submissions)
        # Every text is there twice: in the message, and by itself.
        self.size = 2 * len(delivery.payload) + _RECORD_BYTES * self.unsettled + _SUBMISSION_BYTES * len(submissions)
        """About the bytes of memory that it takes until it is finished."""

    def volumes(self) -> list[tuple[str, int]]:
        """Bytes of each submission, by tenant."""
        if self.envelope is None:
            return []
        tenants = [submission.tenant_id for submission in self.envelope.submissions]
        return list(zip(tenants, self.envelope.sizes, strict=True))


class Item(msgspec.Struct, gc=False, eq=False):
    """One record on its way: where it came from and which version it is.

    Tens of thousands may wait, and are in no cycle: looking at each would stop everything for 10 to 20 ms.
    """

    message: Message
    submission: Submission
    position: int
    version: Version


class Verdict(Enum):
    """What to do with a submission, judged by what is known of its tenant."""

    STORE = "store"
    DISCARD = "discard"
    """It is of a tenant, or a provisioning of one, that is gone."""
    UNSURE = "unsure"
    """What is known may be old: read it again and judge again."""


def read_envelope(payload: bytes) -> Envelope | None:
    """The envelope, None for what is none of a known version."""
    try:
        return decode_envelope(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def judge(submission: Submission, config: TenantConfig | None, *, confirmed: bool) -> Verdict:
    """Whether the submission may be stored.

    A tombstone does not discard: with a retained database what was accepted is stored first, and with a deleted one
    the database refuses the write. `confirmed` says that `config` was read after the submission arrived.
    """
    if config is not None and config.uid == submission.uid:
        return Verdict.STORE
    return Verdict.DISCARD if confirmed else Verdict.UNSURE


def items(message: Message) -> list[tuple[Submission, list[Item]]]:
    """The records of a message by submission, each with its version: that of the message it first came in."""
    if message.envelope is None:
        return []
    here = (message.delivery.time, message.delivery.sequence)
    index = 0
    result: list[tuple[Submission, list[Item]]] = []
    for submission in message.envelope.submissions:
        time, sequence = submission.accepted_as or here
        count = len(submission.records)
        places = range(index, index + count) if submission.positions is None else submission.positions
        part = [
            Item(message, submission, position, Version(time, sequence, place)) for position, place in enumerate(places)
        ]
        index += count
        result.append((submission, part))
    return result


def by_delay(batch: list[Item], seconds_per_char: float) -> dict[float, list[Item]]:
    """A batch taken apart by how many seconds its records are held."""
    if seconds_per_char == 0:
        return {0.0: batch}
    groups: dict[float, list[Item]] = {}
    for item in batch:
        characters = len(item.submission.records[item.position].text)
        groups.setdefault(characters * seconds_per_char, []).append(item)
    return groups
