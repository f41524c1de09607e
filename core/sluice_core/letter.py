"""Records set aside: parked ones, tried again by themselves, and dead letters, kept for a person.

Both are the same thing in two places: headers that say why, and as payload an envelope that can go back into the lane
as it is. Invariants: headers never carry log text; the payload does, so whoever shows it redacts it first; and a record
keeps its id and its version through any number of detours.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from sluice_core.envelope import Submission, decode_envelope, encode_envelope, encode_submission
from sluice_core.reasons import UNREADABLE_MESSAGE, Reason
from sluice_core.version import Version

_PREFIX = "Sluice-"
_EDGES = re.compile(r"\A +| +\Z")


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """What the headers say."""

    tenant_id: str
    reason: str
    detail: str = ""
    log_id: str = ""
    """Of the first record."""
    records: int = 1
    uid: str = ""
    request_id: str = ""
    source: str = ""
    received_at: int = 0
    """Microseconds since the epoch."""
    attempts: int = 1
    """How often the message was delivered or parked, as far as anybody counted."""
    version: str = ""
    """`time.sequence.position` of the first record."""


class StoredLetter(msgspec.Struct, frozen=True):
    """A letter as it stands in the stream."""

    sequence: int
    stored_at: str
    """RFC 3339, by the broker's clock."""
    letter: Letter
    payload: bytes

    def submissions(self) -> list[Submission] | None:
        """The records, None when the payload is a whole message that could not be read."""
        try:
            return decode_envelope(self.payload).submissions
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None


def version_text(version: Version) -> str:
    """The header's form of a version."""
    return ".".join(str(part) for part in version.numbers())


def pick_out(submission: Submission, chosen: Sequence[int], versions: Sequence[Version]) -> Submission:
    """The records at the positions `chosen`, at least one, as a submission that can travel alone.

    `versions` are theirs; records of one submission share the broker's time and sequence.
    """
    records = [
        msgspec.structs.replace(submission.records[position], log_id=submission.log_id(position)) for position in chosen
    ]
    return msgspec.structs.replace(
        submission,
        records=records,
        accepted_as=(versions[0].time, versions[0].sequence),
        positions=[version.position for version in versions],
    )


def enclose(
    submissions: Sequence[Submission], reason: Reason, detail: str = "", attempts: int = 1
) -> tuple[Letter, bytes]:
    """The letter of submissions of one tenant that `pick_out` made, and its payload. Headers describe the first one."""
    first = submissions[0]
    time, sequence = first.accepted_as or (0, 0)
    position = first.positions[0] if first.positions else 0
    letter = Letter(
        tenant_id=first.tenant_id,
        reason=reason.code,
        detail=detail,
        log_id=first.log_id(0),
        records=sum(len(submission.records) for submission in submissions),
        uid=first.uid,
        request_id=first.request_id,
        source=first.source,
        received_at=first.received_at,
        attempts=attempts,
        version=version_text(Version(time, sequence, position)),
    )
    return letter, encode_envelope([encode_submission(submission) for submission in submissions])


def letter_headers(letter: Letter) -> dict[str, str]:
    """The letter as headers."""
    return {_PREFIX + name: value for name, value in _header_fields(letter)}


def read_letter(tenant_id: str, headers: Mapping[str, str]) -> Letter:
    """The letter that stands under `tenant_id` with these headers."""
    fields = {
        name.removeprefix(_PREFIX): value.encode("ascii", "replace").decode("unicode_escape")
        for name, value in headers.items()
        if name.startswith(_PREFIX)
    }
    try:
        return msgspec.convert(fields, Letter, strict=False)
    except msgspec.ValidationError:  # not one of ours, but in the stream, and it must not hide the others
        return Letter(tenant_id=tenant_id, reason=UNREADABLE_MESSAGE.code, detail="it has no headers of ours")


def _header_fields(letter: Letter) -> Iterator[tuple[str, str]]:
    for field in letter.__struct_fields__:
        # Header values are one line of printable text, stripped by the client at both ends; an id may be anything.
        value = str(getattr(letter, field)).encode("unicode_escape").decode("ascii")
        if value:
            yield field, _EDGES.sub(lambda spaces: r"\x20" * len(spaces[0]), value)
