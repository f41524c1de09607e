"""Envelopes: what one release writes, every later and earlier one reads."""

from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sluice_core.envelope import (
    ENVELOPE_VERSION,
    Envelope,
    Record,
    Submission,
    decode_envelope,
    encode_content,
    encode_envelope,
    encode_submission,
)
from sluice_core.ids import format_id
from unit.strategies import records, tenant_ids, texts

submissions = st.builds(
    Submission,
    tenant_ids,
    st.text("0123456789abcdef", min_size=16, max_size=16),
    texts,
    st.sampled_from(["json_upload", "ndjson_upload", "text_upload"]),
    st.integers(0, 2**62),
    st.binary(min_size=16, max_size=16),
    st.integers(0, 2**20),
    st.lists(records, max_size=4),
    st.none() | texts,
    st.none() | st.tuples(st.integers(0, 2**63), st.integers(0, 2**63)),
    st.none(),
    st.integers(0, 2**31),
)


@given(st.lists(submissions, max_size=4))
def test_what_is_packed_is_read_back(sent: list[Submission]) -> None:
    encoded = [encode_submission(submission) for submission in sent]
    read = decode_envelope(encode_envelope(encoded))
    assert read == Envelope(sent, [len(one) for one in encoded])


@given(st.lists(submissions, max_size=4))
def test_packing_submissions_raw_gives_the_bytes_of_packing_them_whole(sent: list[Submission]) -> None:
    raw = encode_envelope([encode_submission(submission) for submission in sent])
    assert raw == msgspec.msgpack.encode((ENVELOPE_VERSION, sent))


@given(submissions, st.integers(0, 5))
def test_positions_are_as_many_as_records(sent: Submission, number: int) -> None:
    data = encode_envelope([encode_submission(msgspec.structs.replace(sent, positions=[7] * number))])
    if number == len(sent.records):
        assert decode_envelope(data).submissions[0].positions == [7] * number
    else:
        with pytest.raises(msgspec.ValidationError):
            decode_envelope(data)


class _LaterRecord(msgspec.Struct, array_like=True):
    log_id: str | None
    text: str
    timestamp: int | None
    attributes: dict[str, Any] | None
    severity: int
    scope: dict[str, str]


class _LaterSubmission(msgspec.Struct, array_like=True):
    tenant_id: str
    uid: str
    request_id: str
    source: str
    received_at: int
    base_id: bytes
    first: int
    records: list[_LaterRecord]
    traceparent: str | None
    accepted_as: tuple[int, int] | None
    positions: list[int] | None
    attempts: int
    region: str


class _LaterEnvelope(msgspec.Struct, array_like=True):
    version: int
    submissions: list[_LaterSubmission]
    origin: str


@given(records)
def test_fields_that_a_later_release_appends_are_passed_over(record: Record) -> None:
    later = _LaterRecord(record.log_id, record.text, record.timestamp, record.attributes, 3, {"a": "b"})
    submission = _LaterSubmission(
        "acme", "u1", "r", "json_upload", 1, b"\0" * 16, 0, [later], None, (5, 6), [7], 2, "eu"
    )
    data = msgspec.msgpack.encode(_LaterEnvelope(ENVELOPE_VERSION, [submission], "elsewhere"))
    read = decode_envelope(data)
    expected = Submission("acme", "u1", "r", "json_upload", 1, b"\0" * 16, 0, [record], None, (5, 6), [7], 2)
    assert read.submissions == [expected]


def test_fields_that_an_earlier_release_did_not_have_get_their_defaults() -> None:
    submission: list[Any] = ["acme", "u1", "r", "json_upload", 1, b"\0" * 16, 0, [[None, "text"]]]
    [read] = decode_envelope(msgspec.msgpack.encode([ENVELOPE_VERSION, [submission]])).submissions
    assert (read.traceparent, read.accepted_as, read.positions, read.attempts) == (None, None, None, 0)
    assert read.records == [Record(None, "text", None, None)]


@given(st.integers(-(2**63), 2**64 - 1).filter(lambda version: version != ENVELOPE_VERSION))
@example(0)
@example(2)
def test_an_unknown_version_is_refused(version: int) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_envelope(msgspec.msgpack.encode([version, []]))


@given(st.binary(max_size=200))
@example(b"")
@example(b"\x92\x01\xdd\xff\xff\xff\xff")
@example(b"\x92\x01\x91" * 50)
@example(b"\xc1")
def test_bytes_that_are_no_envelope_are_refused(data: bytes) -> None:
    try:
        read = decode_envelope(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    assert len(read.submissions) == len(read.sizes)


@given(st.lists(submissions, min_size=1, max_size=2), st.data())
def test_an_envelope_cut_short_is_refused(sent: list[Submission], data: st.DataObject) -> None:
    whole = encode_envelope([encode_submission(submission) for submission in sent])
    with pytest.raises(msgspec.DecodeError):
        decode_envelope(whole[: data.draw(st.integers(0, len(whole) - 1))])


def test_a_record_keeps_its_own_id_and_gets_one_from_the_submission_otherwise() -> None:
    base = 7 << 70
    submission = Submission(
        "acme", "u1", "r", "json_upload", 1, base.to_bytes(16), 10, [Record(None, "a"), Record("own", "b")]
    )
    assert submission.log_id(0) == format_id(base + 10)
    assert submission.log_id(1) == "own"


@given(records)
def test_content_is_the_same_before_and_after_the_journey(record: Record) -> None:
    submission = Submission("acme", "u1", "r", "json_upload", 1, b"\0" * 16, 0, [record])
    [read] = decode_envelope(encode_envelope([encode_submission(submission)])).submissions
    assert encode_content(read.records[0]) == encode_content(record)


@given(records, records)
def test_content_is_everything_but_the_id(one: Record, other: Record) -> None:
    renamed = msgspec.structs.replace(one, log_id="another")
    assert encode_content(renamed) == encode_content(one)
    if (one.text, one.timestamp) != (other.text, other.timestamp):
        assert encode_content(one) != encode_content(other)
