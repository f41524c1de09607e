"""Admission: which drafts are taken, and that what was taken can always be encoded and stored."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sluice_core.edge.store import encode_fields, join_document
from sluice_core.envelope import Record, Submission, encode_content, encode_envelope, encode_submission
from sluice_core.errors import Refusal
from sluice_core.ids import idempotent_id
from sluice_core.letter import enclose, pick_out
from sluice_core.limits import MIB
from sluice_core.reasons import (
    INVALID_FIELD,
    INVALID_TEXT,
    MALFORMED_JSON,
    MISSING_FIELD,
    OTHER_TENANT,
    RECORD_TOO_LARGE,
    STORE_REFUSES,
    Reason,
)
from sluice_ingest.admit import Admission, admit, read_timestamp
from sluice_ingest.drafts import JSON, NDJSON, TEXT, Draft, Texts, read_drafts
from sluice_redact import Redactor
from sluice_worker.documents import Preparer, moment
from sluice_worker.handle import Message, items
from unit.fakes import config, delivery, refused
from unit.strategies import attributes, texts


def _admit(*drafts: Draft | Refusal, limit: int = 1000, log_id: str | None = None, key: str | None = None) -> Admission:
    return admit(list(drafts), tenant_id="acme", max_record_bytes=limit, log_id=log_id, idempotency_key=key)


def _one(draft: Draft, limit: int = 1000) -> Record | Reason:
    admission = _admit(draft, limit=limit)
    if admission.records:
        assert admission.rejected == []
        return admission.records[0]
    [rejection] = admission.rejected
    assert rejection.index == 0
    return rejection.refusal.reason


# -- fields ----------------------------------------------------------------------------------------------------------
def test_text_is_enough() -> None:
    assert _one(Draft(text="a")) == Record(None, "a")


def test_data_is_another_name_for_text() -> None:
    assert _one(Draft(data="a")) == Record(None, "a")


def test_every_field_of_a_draft_reaches_the_record() -> None:
    draft = Draft(text="a", tenant_id="acme", log_id="7", timestamp=1_700_000_000, attributes={"k": 1})
    assert _one(draft) == Record("7", "a", 1_700_000_000_000_000, {"k": 1})


@pytest.mark.parametrize(
    "draft", [Draft(), Draft(text=""), Draft(data=""), Draft(attributes={"a": 1}), Draft(log_id="1")]
)
def test_a_record_without_text_is_refused(draft: Draft) -> None:
    assert _one(draft) is MISSING_FIELD


@pytest.mark.parametrize("data", ["a", "b", ""])
def test_text_and_data_together_are_refused(data: str) -> None:
    assert _one(Draft(text="a", data=data)) is INVALID_FIELD
    assert _one(Draft(text=data, data="a")) is INVALID_FIELD


def test_empty_attributes_are_none() -> None:
    assert _one(Draft(text="a", attributes={})) == Record(None, "a")


@pytest.mark.parametrize("tenant_id", ["beta", "", "ACME", "acme ", "acme\n"])
def test_a_record_of_another_tenant_is_refused(tenant_id: str) -> None:
    assert _one(Draft(text="a", tenant_id=tenant_id)) is OTHER_TENANT


@pytest.mark.parametrize("log_id", ["a", "x" * 256, "ä" * 128, "🙂" * 64, " ", "a\nb", "\0", "$ne", "a.b"])
def test_a_log_id_may_be_any_text_of_up_to_256_bytes(log_id: str) -> None:
    assert _one(Draft(text="a", log_id=log_id)) == Record(log_id, "a")


@pytest.mark.parametrize("log_id", ["", "x" * 257, "ä" * 129, "🙂" * 65])
def test_a_log_id_of_another_length_is_refused(log_id: str) -> None:
    assert _one(Draft(text="a", log_id=log_id)) is INVALID_FIELD


@pytest.mark.parametrize(
    "draft",
    [
        Draft(text="a\ud800", log_id="1"),
        Draft(data="\udfff"),
        Draft(text="a", log_id="\ud800"),
        Draft(text="a", attributes={"k": "\ud800"}),
        Draft(text="a", attributes={"\ud800": 1}),
        Draft(text="a", attributes={"k": [{"\udc00": 1}]}),
    ],
)
@pytest.mark.parametrize("key", [None, "k"])
def test_a_lone_surrogate_anywhere_is_refused(draft: Draft, key: str | None) -> None:
    [rejection] = _admit(draft, key=key).rejected
    assert rejection.refusal.reason is INVALID_TEXT


# -- size ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("character", ["a", "é", "日", "🙂"])
@pytest.mark.parametrize("named", [False, True])
def test_the_limit_counts_bytes_not_characters(character: str, named: bool) -> None:
    width = len(character.encode())
    draft = Draft(text=character * 12, log_id="7" if named else None)
    assert isinstance(_one(draft, limit=12 * width), Record)
    assert _one(draft, limit=12 * width - 1) is RECORD_TOO_LARGE


def test_attributes_count_as_they_are_encoded() -> None:
    sent = {"k": "é" * 10, "n": [1, 2, 3]}
    size = 5 + len(msgspec.msgpack.encode(sent))
    assert isinstance(_one(Draft(text="12345", attributes=sent), limit=size), Record)
    assert _one(Draft(text="12345", attributes=sent), limit=size - 1) is RECORD_TOO_LARGE


@given(texts.filter(bool), st.none() | attributes, st.integers(1, 200))
def test_a_record_within_the_limit_is_taken_and_no_other(text: str, given_: dict[str, Any] | None, limit: int) -> None:
    size = len(text.encode()) + (0 if given_ is None else len(msgspec.msgpack.encode(given_)))
    assert isinstance(_one(Draft(text=text, attributes=given_), limit=limit), Record) == (size <= limit)


# -- attributes ------------------------------------------------------------------------------------------------------
def _nested(levels: int, inner: Any, *, lists: bool = False) -> dict[str, Any]:
    value = inner
    for _ in range(levels - 1):
        value = [value] if lists else {"k": value}
    return {"k": value}


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63), 0, 2**53 + 1])
def test_integers_of_64_bits_are_taken(number: int) -> None:
    assert _one(Draft(text="a", attributes={"k": number})) == Record(None, "a", None, {"k": number})


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 2**64, 10**400])
@pytest.mark.parametrize("place", ["top", "list", "object"])
def test_larger_integers_are_refused_wherever_they_stand(number: int, place: str) -> None:
    value: dict[str, Any] = {"top": number, "list": [1, [number]], "object": {"k": {"k": number}}}
    assert _one(Draft(text="a", attributes={"k": value[place]})) is INVALID_FIELD


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_not_finite_are_refused(number: float) -> None:
    assert _one(Draft(text="a", attributes={"k": [number]})) is INVALID_FIELD


@pytest.mark.parametrize("sent", [{"\0": 1}, {"a\0b": 1}, {"k": {"a\0": 1}}, {"k": [[{"\0": 1}]]}])
def test_a_key_with_nul_is_refused_wherever_it_stands(sent: dict[str, Any]) -> None:
    assert _one(Draft(text="a", attributes=sent)) is INVALID_FIELD


def test_a_value_with_nul_is_taken() -> None:
    assert _one(Draft(text="\0", attributes={"k": "\0"})) == Record(None, "\0", None, {"k": "\0"})


@pytest.mark.parametrize("lists", [False, True])
def test_attributes_are_taken_to_a_depth_of_64(lists: bool) -> None:
    assert isinstance(_one(Draft(text="a", attributes=_nested(63, {}, lists=lists))), Record)
    assert _one(Draft(text="a", attributes=_nested(65, {}, lists=lists))) is INVALID_FIELD
    assert _one(Draft(text="a", attributes=_nested(900, {}, lists=lists))) is INVALID_FIELD


def test_no_refusal_repeats_what_was_sent() -> None:
    for draft in (
        Draft(text="hunter2" * 200),
        Draft(text="a", log_id="hunter2" * 50),
        Draft(text="a", timestamp="hunter2"),
        Draft(text="a", tenant_id="hunter2"),
        Draft(text="a", attributes={"hunter2\0": 1}),
        Draft(text="hunter2", data="hunter2"),
    ):
        [rejection] = _admit(draft).rejected
        assert "hunter2" not in rejection.refusal.detail


# -- timestamps ------------------------------------------------------------------------------------------------------
_SECOND = 1_000_000
_2024 = 1_704_067_200 * _SECOND


@pytest.mark.parametrize(
    ("sent", "micros"),
    [
        ("2024-01-01T00:00:00Z", _2024),
        ("2024-01-01T00:00:00+00:00", _2024),
        ("2024-01-01t00:00:00z", _2024),
        ("2024-01-01 00:00:00Z", _2024),
        ("2024-01-01T00:00:00", _2024),
        ("2024-01-01T01:30:00+01:30", _2024),
        ("2023-12-31T19:00:00-05:00", _2024),
        ("2024-01-01T00:00:00.123Z", _2024 + 123_000),
        ("2024-01-01T00:00:00.000001Z", _2024 + 1),
        ("2024-01-01T00:00:00.999999Z", _2024 + 999_999),
        ("2024-01-01T00:00:00.123456789Z", _2024 + 123_456),
        ("1970-01-01T00:00:00Z", 0),
        ("9999-12-31T23:59:59.999999Z", 253_402_300_799_999_999),
        (1_704_067_200, _2024),
        (1_704_067_200.0, _2024),
        (1_704_067_200.123, _2024 + 123_000),
        (1_704_067_200.123456, _2024 + 123_456),
        (1_704_067_200_000, _2024),
        (1_704_067_200_123, _2024 + 123_000),
        (1_704_067_200_000_000, _2024),
        (1_704_067_200_000_001, _2024 + 1),
        (1_704_067_200_000_000_000, _2024),
        (1_704_067_200_000_001_999, _2024 + 1),
        (0, 0),
        (0.5, 500_000),
    ],
)
def test_a_timestamp_is_rfc_3339_or_a_number_of_any_usual_unit(sent: str | float, micros: int) -> None:
    assert read_timestamp(sent) == micros


@pytest.mark.parametrize(
    "sent",
    [
        *["", "now", "2024", "2024-13-01T00:00:00Z", "2024-02-30T00:00:00Z", "2024-01-01T25:00:00Z", "1704067200"],
        *[
            "2024-01-01T00:00:00+25:00",
            "1969-12-31T23:59:59Z",
            "0001-01-01T00:00:00+23:59",
            "\uff12\uff10\uff12\uff14-01-01T00:00:00Z",
        ],
        *["9999-12-31T23:59:59-00:01", "10000-01-01T00:00:00Z", "2024-01-01T00:00:00Z\n", "\ud800", "\0"],
        *[-1, -0.5, -(10**30), 10**30, 10**400, 1e300, -1e300, 253_402_300_800_000_000_000],
    ],
)
def test_any_other_timestamp_is_refused(sent: str | float) -> None:
    with refused(INVALID_FIELD):
        read_timestamp(sent)


_moments = st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999_999))  # noqa: DTZ001


@given(_moments, st.integers(-14 * 60, 14 * 60))
@example(datetime(2024, 1, 1, 0, 0, 0, 123), 0)  # noqa: DTZ001
def test_no_microsecond_of_a_written_moment_is_lost(naive: datetime, offset: int) -> None:
    there = naive.replace(tzinfo=UTC)
    try:
        written = there.astimezone(_zone(offset)).isoformat()
    except OverflowError:
        return
    assert moment(read_timestamp(written)) == there


def _zone(minutes: int) -> Any:
    from datetime import timezone

    return timezone(timedelta(minutes=minutes))


@given(st.integers(10**8, 10**11 - 1), st.integers(0, 999_999))
def test_a_number_means_the_same_in_every_unit(seconds: int, micros: int) -> None:
    wanted = seconds * _SECOND + micros
    assert read_timestamp(wanted) == wanted
    assert read_timestamp(wanted * 1000 + 999) == wanted
    assert read_timestamp(seconds) == seconds * _SECOND
    assert read_timestamp(seconds * 1000) == seconds * _SECOND


@given(st.integers(0, 4_000_000_000), st.integers(0, 999))
def test_a_number_of_seconds_keeps_its_milliseconds(seconds: int, millis: int) -> None:
    assert read_timestamp(float(f"{seconds}.{millis:03}")) == seconds * _SECOND + millis * 1000


@given(st.text(max_size=30) | st.floats(allow_nan=False, allow_infinity=False) | st.integers())
def test_any_timestamp_is_a_storable_moment_or_refused(sent: str | float) -> None:
    try:
        micros = read_timestamp(sent)
    except Refusal as refusal:
        assert refusal.reason is INVALID_FIELD  # noqa: PT017 - anything else is the failure
    else:
        assert moment(micros).year >= 1970


# -- ids -------------------------------------------------------------------------------------------------------------
def test_x_log_id_names_the_only_record() -> None:
    assert _admit(Draft(text="a"), log_id="7").records == [Record("7", "a")]


def test_x_log_id_and_the_records_own_id_may_agree() -> None:
    assert _admit(Draft(text="a", log_id="7"), log_id="7").records == [Record("7", "a")]
    with refused(INVALID_FIELD):
        _admit(Draft(text="a", log_id="8"), log_id="7")


@pytest.mark.parametrize("second", [Draft(text="b"), Refusal(MISSING_FIELD), Draft()])
def test_x_log_id_cannot_name_several(second: Draft | Refusal) -> None:
    with refused(INVALID_FIELD):
        _admit(Draft(text="a"), second, log_id="7")


def test_x_log_id_of_a_record_that_is_refused_changes_nothing() -> None:
    [rejection] = _admit(Draft(), log_id="7").rejected
    assert rejection.refusal.reason is MISSING_FIELD


def test_x_log_id_names_the_record_also_beside_an_idempotency_key() -> None:
    assert _admit(Draft(text="a"), log_id="7", key="k").records == [Record("7", "a")]


def test_an_idempotency_key_makes_ids_only_for_those_without() -> None:
    records = _admit(Draft(text="a", log_id="own"), Draft(text="b"), key="k").records
    assert [record.log_id for record in records] == [
        "own",
        idempotent_id("acme", "k", 1, encode_content(Record(None, "b"))),
    ]


def test_an_id_depends_on_the_place_in_the_body_as_sent() -> None:
    alone = _admit(Draft(text="b"), key="k").records[0]
    behind = _admit(Refusal(MALFORMED_JSON), Draft(text="b"), key="k").records[0]
    assert alone.log_id != behind.log_id


def test_a_retry_gets_the_same_ids_and_another_key_others() -> None:
    drafts = [Draft(text="a"), Draft(text="a"), Draft(text="b", attributes={"k": 1})]
    first, again = (_admit(*drafts, key="k").records for _ in range(2))
    assert first == again
    assert len({record.log_id for record in first}) == 3
    assert not {record.log_id for record in first} & {record.log_id for record in _admit(*drafts, key="l").records}


def test_without_a_key_ids_are_made_later() -> None:
    assert [record.log_id for record in _admit(Draft(text="a"), Draft(text="b")).records] == [None, None]


def test_a_refusal_names_the_place_in_the_body_as_sent() -> None:
    admission = _admit(Draft(text="a"), Refusal(MALFORMED_JSON), Draft(), Draft(text="b"))
    assert [record.text for record in admission.records] == ["a", "b"]
    assert [(one.index, one.refusal.reason) for one in admission.rejected] == [(1, MALFORMED_JSON), (2, MISSING_FIELD)]


# -- what was admitted can be stored ---------------------------------------------------------------------------------
_PREPARER = Preparer(config(), Redactor(), b"\0" * 32)
_NOW = datetime(2025, 1, 1, tzinfo=UTC)


def _store(record: Record, *, traceparent: str | None = None) -> None:
    """Takes a record the whole way that the worker takes it."""
    submission = Submission(
        "acme", "u1", "r", "json_upload", 1_700_000_000_000_000, b"\0" * 16, 0, [record], traceparent
    )
    message = Message(delivery(encode_envelope([encode_submission(submission)])))
    [(_, batch)] = items(message)
    enclose([pick_out(submission, [0], [batch[0].version])], STORE_REFUSES)
    [prepared], _ = _PREPARER.prepare(batch, _NOW, _NOW)
    assert prepared.failure is None
    join_document(encode_fields({"_id": prepared.log_id}))
    assert prepared.document


_any_value: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
_any_draft = st.builds(
    Draft,
    text=st.none() | st.text(max_size=20),
    data=st.none() | st.just("d"),
    tenant_id=st.none() | st.sampled_from(["acme", "beta"]),
    log_id=st.none() | st.text(max_size=10),
    timestamp=st.none() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=25),
    attributes=st.none() | st.dictionaries(st.text(max_size=5), _any_value, max_size=3),
)


@given(st.lists(_any_draft, max_size=4), st.none() | texts)
def test_whatever_is_admitted_can_be_encoded_and_stored(drafts: list[Draft], key: str | None) -> None:
    admission = _admit(*drafts, key=key)
    assert len(admission.records) + len(admission.rejected) == len(drafts)
    for record in admission.records:
        _store(record)


@given(
    st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=5), st.integers(1, 120), st.none() | st.just("k")
)
def test_plain_texts_are_decided_about_as_drafts_are(texts: list[str], limit: int, key: str | None) -> None:
    plain = Texts(texts)
    ours, theirs = (
        admit(drafts, tenant_id="acme", max_record_bytes=limit, log_id=None, idempotency_key=key)
        for drafts in (plain, plain.drafts())
    )
    assert ours.records == theirs.records
    assert [one.index for one in ours.rejected] == [one.index for one in theirs.rejected]


@pytest.mark.parametrize("source", [JSON, NDJSON, TEXT])
@given(body=_any_value.map(msgspec.json.encode) | st.binary(max_size=30))
def test_whatever_is_admitted_from_bytes_can_be_encoded_and_stored(source: str, body: bytes) -> None:
    try:
        drafts = read_drafts(source, body, split_lines=False, headers_name_record=False)
    except Refusal:
        return
    for record in _admit(*(drafts.drafts() if isinstance(drafts, Texts) else drafts), key="k").records:
        _store(record)


@pytest.mark.parametrize("deepest", [_nested(63, {}), _nested(63, [], lists=True)])
def test_the_deepest_attributes_can_be_stored(deepest: dict[str, Any]) -> None:
    record = _one(Draft(text="a", attributes=deepest))
    assert isinstance(record, Record)
    _store(record)


def test_attributes_that_grow_most_as_a_document_can_be_stored() -> None:
    element: list[Any] = []
    sent = {"k": [element] * (MIB - 1000)}
    record = _one(Draft(text="a", attributes=sent), limit=MIB)
    assert isinstance(record, Record)
    fields = {"_id": "a", "original_text": "a", "modified_data": "a", "attributes": record.attributes}
    join_document(encode_fields(fields))


@pytest.mark.parametrize(
    "sent", [{"": 1}, {"$ref": "a", "$id": 1}, {"$where": "1"}, {"a.b": 1}, {"_id": 1}, {"$oid": "x"}, {"__proto__": 1}]
)
def test_keys_that_mean_something_elsewhere_can_be_stored(sent: dict[str, Any]) -> None:
    record = _one(Draft(text="a", attributes=sent))
    assert isinstance(record, Record)
    _store(record)
