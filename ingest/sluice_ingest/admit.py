"""Which drafts are taken, and what they become: pure, with every limit an argument.

All protocols end here, with only another reader of drafts before it and another writer of answers behind it.
Invariant: a record that is admitted can be encoded, stored under its id and read back, so nothing accepted is found
impossible later; and each refusal names the position of its draft in the body as sent.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import repeat
from math import isfinite
from typing import Any

import msgspec

from sluice_core.envelope import Record, Submission, encode_content, encode_submission
from sluice_core.errors import Refusal
from sluice_core.ids import ID_BYTES, count_ids, idempotent_id
from sluice_core.limits import ENVELOPE_BYTES, MAX_ATTRIBUTE_DEPTH, MAX_LOG_ID_BYTES
from sluice_core.reasons import INVALID_FIELD, INVALID_TEXT, MISSING_FIELD, OTHER_TENANT, RECORD_TOO_LARGE
from sluice_ingest.drafts import Draft, Drafts, Texts

_EPOCH = datetime.fromtimestamp(0, UTC)
_INT64 = 1 << 63
_UTF8_MOST = 4
"""Most bytes a character takes."""
_LATEST = 253_402_300_800_000_000
"""Year 10000 in microseconds: what a stored date can still be read back as."""
_ROOM = ENVELOPE_BYTES - 512
"""What an envelope leaves for one submission."""


class Rejection(msgspec.Struct, frozen=True):
    """A draft that was not taken."""

    index: int
    refusal: Refusal


class Admission(msgspec.Struct, frozen=True):
    """What became of the drafts of one request."""

    records: list[Record]
    rejected: list[Rejection]


def admit(
    drafts: Drafts | Texts, *, tenant_id: str, max_record_bytes: int, log_id: str | None, idempotency_key: str | None
) -> Admission:
    """Decide about every draft.

    `log_id` comes from the header and names the only record of a request that has no id of its own.
    """
    if isinstance(drafts, Texts):
        if log_id is None and idempotency_key is None and _are_small(drafts.texts, max_record_bytes):
            return Admission(list(map(Record, repeat(None), drafts.texts)), [])
        drafts = drafts.drafts()
    records: list[Record] = []
    rejected: list[Rejection] = []
    for index, draft in enumerate(drafts):
        try:
            if isinstance(draft, Refusal):
                raise draft
            record = _check(draft, tenant_id, max_record_bytes)
            if idempotency_key is not None and log_id is None and record.log_id is None:
                record.log_id = idempotent_id(tenant_id, idempotency_key, index, encode_content(record))
            records.append(record)
        except Refusal as refusal:
            # Its traceback would keep all that this frame refers to, once for every record.
            rejected.append(Rejection(index, refusal.with_traceback(None)))
    if log_id is not None:
        _name(records, log_id, len(drafts))
    return Admission(records, rejected)


def _are_small(texts: Sequence[str], max_record_bytes: int) -> bool:
    """Whether each is surely within the limit."""
    return max(map(len, texts)) * _UTF8_MOST <= max_record_bytes


def submissions(
    records: list[Record], *, tenant_id: str, uid: str, request_id: str, source: str, received_at: int, base: int,
    traceparent: str | None,
) -> list[bytes]:  # fmt: skip
    """The records as encoded submissions, each small enough for an envelope if it holds more than one record.

    `received_at` in microseconds since the epoch; `base` is the integer that generated ids count up from.
    """
    whole = Submission(
        tenant_id, uid, request_id, source, received_at, base.to_bytes(ID_BYTES), 0, records, traceparent
    )
    encoded = encode_submission(whole)
    return [encoded] if len(encoded) <= _ROOM or len(records) == 1 else _split(whole, len(encoded))


def _split(submission: Submission, size: int) -> list[bytes]:
    """The submission in about as many equal parts as its `size` in bytes calls for, each split again if need be."""
    records = submission.records
    step = -(-len(records) // min(len(records), size // _ROOM + 1))
    parts: list[bytes] = []
    for start in range(0, len(records), step):
        part = msgspec.structs.replace(
            submission, first=submission.first + start, records=records[start : start + step]
        )
        encoded = encode_submission(part)
        parts += [encoded] if len(encoded) <= _ROOM or len(part.records) == 1 else _split(part, len(encoded))
    return parts


def log_ids(records: Sequence[Record], base: int) -> list[str]:
    """The ids under which the records will be stored."""
    generated_id = count_ids(base)
    return [record.log_id or generated_id(position) for position, record in enumerate(records)]


def _name(records: list[Record], log_id: str, drafts: int) -> None:
    if drafts != 1:
        raise Refusal(INVALID_FIELD, "X-Log-ID names one record; give each record of a batch its own log_id.")
    for record in records:
        if record.log_id is None:
            record.log_id = log_id
        elif record.log_id != log_id:
            raise Refusal(INVALID_FIELD, "X-Log-ID and the record's log_id differ.")


def _check(draft: Draft, tenant_id: str, max_record_bytes: int) -> Record:
    if draft.tenant_id is not None and draft.tenant_id != tenant_id:
        raise Refusal(OTHER_TENANT)
    if draft.text is not None and draft.data is not None:
        raise Refusal(INVALID_FIELD, "Give either `text` or `data`, not both.")
    text = draft.text or draft.data
    if not text:
        raise Refusal(MISSING_FIELD)
    try:
        size = len(text.encode())
        if draft.log_id is not None and not 1 <= len(draft.log_id.encode()) <= MAX_LOG_ID_BYTES:
            raise Refusal(INVALID_FIELD, f"`log_id` must have 1 to {MAX_LOG_ID_BYTES} bytes.")
        if draft.attributes is not None:
            _check_attributes(draft.attributes, 1, [max_record_bytes])
            size += len(msgspec.msgpack.encode(draft.attributes))
    except UnicodeEncodeError:
        raise Refusal(INVALID_TEXT, "A string holds a lone surrogate, which UTF-8 cannot.") from None
    if size > max_record_bytes:
        raise Refusal(RECORD_TOO_LARGE, f"The record has {size} bytes; {max_record_bytes} are allowed.")
    timestamp = None if draft.timestamp is None else read_timestamp(draft.timestamp)
    return Record(draft.log_id, text, timestamp, draft.attributes or None)


def _check_attributes(value: Any, depth: int, left: list[int]) -> None:
    """Raises Refusal for what a document could not hold.

    `left[0]` is how many values may follow: each takes a byte at least, so more than a record's bytes cannot fit.
    """
    left[0] -= 1
    if left[0] < 0:
        raise Refusal(RECORD_TOO_LARGE)
    if depth > MAX_ATTRIBUTE_DEPTH:
        raise Refusal(INVALID_FIELD, f"`attributes` is nested deeper than {MAX_ATTRIBUTE_DEPTH} levels.")
    if isinstance(value, dict):
        for key, content in value.items():
            if "\0" in key:
                raise Refusal(INVALID_FIELD, "A key in `attributes` holds a NUL character.")
            key.encode()
            _check_attributes(content, depth + 1, left)
    elif isinstance(value, list):
        for content in value:
            _check_attributes(content, depth + 1, left)
    elif isinstance(value, int):
        if not -_INT64 <= value < _INT64:
            raise Refusal(INVALID_FIELD, "A number in `attributes` does not fit 64 bits: send it as a string.")
    elif isinstance(value, float) and not isfinite(value):
        raise Refusal(INVALID_FIELD, "A number in `attributes` is not finite.")


def read_timestamp(value: str | float) -> int:
    """Microseconds since the epoch of an event's own time.

    A string is RFC 3339 (UTC where it names no offset); a number counts from the epoch, in seconds, milli-, micro- or
    nanoseconds, whichever puts it between 1973 and 5138. Raises Refusal with INVALID_FIELD.
    """
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value.upper())  # RFC 3339 allows a lower-case t and z
        except ValueError:
            raise Refusal(INVALID_FIELD, "`timestamp` is neither RFC 3339 nor a number of seconds.") from None
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        try:
            micros = (moment - _EPOCH) // timedelta(microseconds=1)
        except OverflowError:
            raise Refusal(INVALID_FIELD, "`timestamp` is out of range.") from None
    elif isinstance(value, float) and not isfinite(value):
        raise Refusal(INVALID_FIELD, "`timestamp` is not a finite number.")
    else:
        micros = _scale(value)
    if not 0 <= micros < _LATEST:
        raise Refusal(INVALID_FIELD, "`timestamp` is out of range: it must lie between 1970 and 9999.")
    return micros


def _scale(value: float) -> int:
    magnitude = abs(value)
    if magnitude < 1e11:
        return round(value * 1_000_000)
    if magnitude < 1e14:
        return round(value * 1000)
    if magnitude < 1e17:
        return int(value)
    return int(value // 1000)
