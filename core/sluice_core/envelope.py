"""What travels through the broker: envelopes of submissions of records, as MessagePack arrays.

Arrays, not maps, so that field names cost nothing. Evolution is append-only: new fields go at the end and have
defaults, so old workers read new envelopes and new workers old ones. Invariant: whatever `encode_envelope` made,
`decode_envelope` of any later release reads back.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from sluice_core.ids import count_ids

ENVELOPE_VERSION = 1


class Record(msgspec.Struct, array_like=True, gc=False):
    """One log line or event as it was admitted."""

    log_id: str | None
    """None: derived from the submission, see `Submission.log_id`."""
    text: str
    timestamp: int | None = None
    """The event's own time in microseconds since the epoch."""
    attributes: dict[str, Any] | None = None


class Submission(msgspec.Struct, array_like=True, gc=False):
    """The records of one request that travel in one envelope."""

    tenant_id: str
    uid: str
    """Which provisioning of the tenant accepted it; a worker discards what names another."""
    request_id: str
    source: str
    received_at: int
    """Microseconds since the epoch, by ingest's clock."""
    base_id: bytes
    """16 bytes; generated ids count up from here."""
    first: int
    """Position of `records[0]` among the request's accepted records."""
    records: list[Record]
    traceparent: str | None = None
    accepted_as: tuple[int, int] | None = None
    """Broker's time and sequence of the message that first carried these records; None: the one they are in now."""
    positions: list[int] | None = None
    """Positions of the records in that message; None: count as they come."""
    attempts: int = 0
    """How often these records were parked."""

    def log_id(self, position: int) -> str:
        """Id of `records[position]`, its own or the one derived from the submission."""
        own = self.records[position].log_id
        return self.generated_ids()(position) if own is None else own

    def generated_ids(self) -> Callable[[int], str]:
        """What says which id is derived for the record at a position."""
        return count_ids(int.from_bytes(self.base_id) + self.first)


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """One JetStream message: everything a lane had ready when a commit began."""

    submissions: list[Submission]
    sizes: list[int]
    """Encoded bytes of each, the measure of limits on bytes."""


class _Wire(msgspec.Struct, array_like=True):
    version: int
    submissions: list[msgspec.Raw]


_encoder = msgspec.msgpack.Encoder()
_wire_decoder = msgspec.msgpack.Decoder(_Wire)
_submission_decoder = msgspec.msgpack.Decoder(Submission)


def encode_submission(submission: Submission) -> bytes:
    """Encode one submission, in the request that brought it.

    Raises UnicodeEncodeError for a lone surrogate and OverflowError for an integer beyond 64 bits.
    """
    return _encoder.encode(submission)


def encode_content(record: Record) -> bytes:
    """What makes two records the same: everything but the id. Input of content hashes and idempotent ids."""
    return _encoder.encode((record.text, record.timestamp, record.attributes))


def encode_envelope(submissions: Sequence[bytes]) -> bytes:
    """Wrap submissions that are already encoded; costs a copy of their bytes and nothing per record."""
    return _encoder.encode(_Wire(ENVELOPE_VERSION, [msgspec.Raw(submission) for submission in submissions]))


def decode_envelope(data: bytes) -> Envelope:
    """Read an envelope.

    Raises msgspec.DecodeError (of which msgspec.ValidationError is one) for anything else.
    """
    wire = _wire_decoder.decode(data)
    if wire.version != ENVELOPE_VERSION:
        raise msgspec.ValidationError("unknown envelope version")
    submissions = [_submission_decoder.decode(raw) for raw in wire.submissions]
    for submission in submissions:
        if submission.positions is not None and len(submission.positions) != len(submission.records):
            raise msgspec.ValidationError("positions and records differ in number")
    return Envelope(submissions, [memoryview(raw).nbytes for raw in wire.submissions])
