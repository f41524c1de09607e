"""Drafts: every form a body may have, and that nothing in it is lost, moved or worse than refused."""

from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sluice_core.errors import Refusal
from sluice_core.reasons import (
    EMPTY_BODY,
    INVALID_FIELD,
    INVALID_TEXT,
    MALFORMED_JSON,
    UNSUPPORTED_TYPE,
    Reason,
)
from sluice_ingest.admit import admit
from sluice_ingest.drafts import JSON, NDJSON, TEXT, Draft, Drafts, Texts, is_batch, read_drafts, read_source
from unit.fakes import refused
from unit.strategies import attributes, texts

_SOURCES = [JSON, NDJSON, TEXT]


def _read(source: str, body: bytes, *, split: bool = False, headers: bool = False) -> Drafts:
    drafts = read_drafts(source, body, split_lines=split, headers_name_record=headers)
    return drafts.drafts() if isinstance(drafts, Texts) else drafts


def _reasons(drafts: Drafts) -> list[Reason | None]:
    return [draft.reason if isinstance(draft, Refusal) else None for draft in drafts]


# -- which kind of upload it is --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("content_type", "source"),
    [
        (b"application/json", JSON),
        (b"Application/JSON", JSON),
        (b"application/json; charset=utf-8", JSON),
        (b'application/json;charset="UTF-8"', JSON),
        (b"application/json ; charset=utf8 ; x=y", JSON),
        (b"application/x-ndjson", NDJSON),
        (b"application/ndjson", NDJSON),
        (b"application/jsonl", NDJSON),
        (b"text/plain", TEXT),
        (b"text/plain;charset=us-ascii", TEXT),
        (b"text/plain;", TEXT),
    ],
)
def test_a_content_type_says_what_kind_of_upload_it_is(content_type: bytes, source: str) -> None:
    assert read_source(content_type) == source


@pytest.mark.parametrize(
    "content_type",
    [None, b"", b"text/html", b"application/xml", b"json", b"application/json, text/plain", b"\xff", b";", b"text"],
)
def test_any_other_content_type_is_refused(content_type: bytes | None) -> None:
    with refused(UNSUPPORTED_TYPE):
        read_source(content_type)


@pytest.mark.parametrize("charset", [b"latin-1", b"utf-16", b"", b"utf-8;charset=latin-1"])
def test_another_charset_is_refused(charset: bytes) -> None:
    with refused(UNSUPPORTED_TYPE):
        read_source(b"text/plain; charset=" + charset)


@pytest.mark.parametrize(
    ("source", "body", "split", "batch"),
    [
        (JSON, b'{"text":"a"}', False, False),
        (JSON, b' \n[{"text":"a"}]', False, True),
        (NDJSON, b'{"text":"a"}', False, True),
        (TEXT, b"[a]", False, False),
        (TEXT, b"a", True, True),
    ],
)
def test_a_batch_is_what_may_hold_many(source: str, body: bytes, split: bool, batch: bool) -> None:
    assert is_batch(source, body, split_lines=split) is batch


# -- JSON ------------------------------------------------------------------------------------------------------------
def test_an_object_is_one_record() -> None:
    body = b'{"text":"a","tenant_id":"acme","log_id":"1","timestamp":5,"attributes":{"k":[1,null]}}'
    assert _read(JSON, body) == [Draft("a", None, "acme", "1", 5, {"k": [1, None]})]


def test_data_is_another_name_for_text() -> None:
    assert _read(JSON, b'{"data":"a"}') == [Draft(data="a")]


def test_an_array_is_a_batch() -> None:
    assert _read(JSON, b'[{"text":"a"},{"data":"b"}]') == [Draft(text="a"), Draft(data="b")]


@given(st.dictionaries(texts.filter(lambda name: name not in Draft.__struct_fields__), st.integers(), max_size=4))
def test_fields_it_does_not_know_become_attributes(extra: dict[str, int]) -> None:
    body = msgspec.json.encode({"text": "a", **extra})
    assert _read(JSON, body) == [Draft(text="a", attributes=extra or None)]
    assert _read(JSON, b"[" + body + b"]") == [Draft(text="a", attributes=extra or None)]
    assert _read(NDJSON, body) == [Draft(text="a", attributes=extra or None)]


def test_unknown_fields_stand_beside_attributes_and_keep_their_values() -> None:
    body = b'{"text":"a","level":"info","attributes":{"k":1},"nested":{"x":[1.5]}}'
    [draft] = _read(JSON, body)
    assert isinstance(draft, Draft)
    assert draft.attributes == {"level": "info", "k": 1, "nested": {"x": [1.5]}}


def test_a_field_in_both_places_is_refused_rather_than_lost() -> None:
    [draft] = _read(JSON, b'{"text":"a","level":"info","attributes":{"level":"warn"}}')
    assert isinstance(draft, Refusal)
    assert draft.reason is INVALID_FIELD
    assert "info" not in draft.detail


@pytest.mark.parametrize("record", [b"1", b'"a"', b"null", b"[]", b"true", b"[[]]"])
def test_a_record_must_be_an_object(record: bytes) -> None:
    assert _reasons(_read(NDJSON, record)) == [INVALID_FIELD]
    assert _reasons(_read(JSON, b"[" + record + b"]")) == [INVALID_FIELD]


@pytest.mark.parametrize(
    "fields",
    [
        b'"text":5',
        b'"text":["hunter2"]',
        b'"data":{}',
        b'"tenant_id":5',
        b'"log_id":5',
        b'"timestamp":true',
        b'"timestamp":{}',
        b'"timestamp":1e400',
        b'"attributes":"hunter2"',
        b'"attributes":[]',
        b'"attributes":{"a":1e400}',
        b'"other":1e400',
        b'"other":1,"text":5',
    ],
)
def test_a_field_of_the_wrong_type_is_refused_without_its_value(fields: bytes) -> None:
    for source, body in ((JSON, b"{%b}"), (JSON, b"[{%b}]"), (NDJSON, b"{%b}")):
        [draft] = _read(source, body % fields)
        assert isinstance(draft, Refusal)
        assert draft.reason is INVALID_FIELD
        assert "hunter2" not in draft.detail


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"text":"a"',
        b'{"text":"a"}x',
        b'{"text":"a"}{"text":"b"}',
        b"{'text':'a'}",
        b"[1",
        b'[{"text":"a"},]',
        b"NaN",
        b"\xef\xbb\xbf{}",
        b'{"text":"\n"}',
        b'{"text":"\\ud800"}',
        b'{"text":"\\q"}',
        b'{"level":"x","text":"a"',
        b'{"level":"x","text":}',
        b'{"level":"\\q","text":"a"}',
        b'{"text":5,"level":',
        b"\x00",
    ],
)
def test_malformed_json_is_refused(body: bytes) -> None:
    try:
        drafts = _read(JSON, body)
    except Refusal as refusal:
        drafts = [refusal]
    assert _reasons(drafts) == [MALFORMED_JSON]


@pytest.mark.parametrize("source", _SOURCES)
def test_text_that_is_not_utf8_is_refused(source: str) -> None:
    body = b"a \xff b" if source == TEXT else b'{"text":"a \xff b"}'
    assert _reasons(_read(source, body)) == [INVALID_TEXT]


def test_one_bad_record_costs_its_batch_mates_nothing() -> None:
    good, bad = b'{"text":"a"}', [b'{"text":5}', b"7", b'{"text":"a","timestamp":{}}', b'{"text":"\xff"}']
    for odd in bad:
        for place in range(3):
            records = [good] * 2
            records.insert(place, odd)
            for source, body in ((JSON, b"[" + b",".join(records) + b"]"), (NDJSON, b"\n".join(records))):
                drafts = _read(source, body)
                assert [isinstance(draft, Refusal) for draft in drafts] == [number == place for number in range(3)]
                assert drafts[(place + 1) % 3] == Draft(text="a")


# -- NDJSON ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\n\n", b"\n \n"])
@pytest.mark.parametrize("between", [b"\n", b"\r\n", b"\n\n", b"\n\t\n"])
def test_ndjson_is_a_record_a_line_and_empty_lines_are_none(between: bytes, end: bytes) -> None:
    assert _read(NDJSON, b'{"text":"a"}' + between + b'{"text":"b"}' + end) == [Draft(text="a"), Draft(text="b")]


@pytest.mark.parametrize("line", [b"{", b'{"text":"a"', b"x", b'{"level":1,"text":', b'{"text":"a"} x', b'{"a":"\\q"}'])
def test_a_malformed_line_is_refused_at_its_place(line: bytes) -> None:
    drafts = _read(NDJSON, b'{"text":"a"}\n' + line + b'\n{"text":"c"}')
    assert _reasons(drafts) == [None, MALFORMED_JSON, None]


_line = st.one_of(
    texts.map(lambda text: msgspec.json.encode({"text": text})),
    attributes.map(msgspec.json.encode),
    st.sampled_from([b"{", b"5", b'{"text":', b'{"x":"\xff"}', b'{"text":"\xff"}', b'{"x":1,"text":"a"}', b'"\\u"']),
    st.binary(min_size=1, max_size=12).filter(lambda line: b"\n" not in line),
).filter(lambda line: line.strip())


@given(st.lists(_line, min_size=1, max_size=6))
def test_every_line_is_read_the_same_alone_and_among_others(lines: list[bytes]) -> None:
    together = _read(NDJSON, b"\n".join(lines))
    assert len(together) == len(lines), "positions are positions in the body as sent"
    for line, draft in zip(lines, together, strict=True):
        [alone] = _read(NDJSON, line)
        if isinstance(draft, Refusal):
            assert isinstance(alone, Refusal)
            assert (alone.reason, alone.detail) == (draft.reason, draft.detail)
        else:
            assert msgspec.json.encode(alone) == msgspec.json.encode(draft)


# -- depth -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("deep", [b"[" * 100_000, b'{"a":' * 100_000, b"[" * 5000 + b"]" * 5000])
@pytest.mark.parametrize(
    "template",
    [b"%b", b'{"text":"t","attributes":{"a":%b}}', b'{"text":"t","other":%b}', b'[{"text":"t","other":%b}]', b"[%b]"],
)
def test_nesting_without_end_is_refused(template: bytes, deep: bytes) -> None:
    for source in (JSON, NDJSON):
        try:
            drafts = _read(source, template % deep)
        except Refusal as refusal:
            drafts = [refusal]
        # How deep the decoder itself goes depends on the Python; what it lets through, admission refuses.
        admission = admit(drafts, tenant_id="t", max_record_bytes=1 << 20, log_id=None, idempotency_key=None)
        assert admission.records == []
        assert {one.refusal.reason for one in admission.rejected} <= {MALFORMED_JSON, INVALID_FIELD}


# -- text ------------------------------------------------------------------------------------------------------------
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_a_text_body_is_one_record_to_the_last_byte(text: str) -> None:
    assert _read(TEXT, text.encode(), headers=True) == [Draft(text=text)]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r")), max_size=6))
def test_split_makes_a_record_a_line_and_leaves_out_empty_ones(lines: list[str]) -> None:
    wanted = [Draft(text=line) for line in lines if line.encode().strip()]
    for end in ("\n", "\r\n"):
        body = end.join(lines).encode()
        if wanted:
            assert _read(TEXT, body, split=True) == wanted
        else:
            with refused(EMPTY_BODY):
                _read(TEXT, body, split=True)


def test_a_line_keeps_its_spaces() -> None:
    assert _read(TEXT, b"  indented \n\tmore\n", split=True) == [Draft(text="  indented "), Draft(text="\tmore")]


def test_only_the_line_that_is_not_utf8_is_refused() -> None:
    assert _reasons(_read(TEXT, b"a\n\xff\nc", split=True)) == [None, INVALID_TEXT, None]


@pytest.mark.parametrize("body", [b"", b"\n", b" \n\r\n\t"])
@pytest.mark.parametrize("source", [NDJSON, TEXT])
def test_a_body_without_a_record_is_refused(source: str, body: bytes) -> None:
    with refused(EMPTY_BODY):
        _read(source, body, split=True)


def test_an_empty_array_and_an_empty_text_are_bodies_without_a_record() -> None:
    with refused(EMPTY_BODY):
        _read(JSON, b"[]")
    with refused(EMPTY_BODY):
        _read(TEXT, b"")


# -- the preamble ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("body", "draft"),
    [
        ("data: hello", Draft(text="hello")),
        ("data:hello", Draft(text="hello")),
        ("data:  hello ", Draft(text=" hello ")),
        ("tenant_id: acme\nlog_id: 7\ndata: hello", Draft(text="hello", tenant_id="acme", log_id="7")),
        ("log_id: 7\ntenant_id: acme\ndata: hello", Draft(text="hello", tenant_id="acme", log_id="7")),
        ("Tenant_ID : acme \r\nDATA: hello", Draft(text="hello", tenant_id="acme")),
        ("tenant_id: acme\ndata: one\ntwo\n", Draft(text="one\ntwo\n", tenant_id="acme")),
        ("data: one\ndata: two\ntenant_id: x", Draft(text="one\ndata: two\ntenant_id: x")),
        ("data: a: b", Draft(text="a: b")),
        ("log_id: a:b\ndata: c", Draft(text="c", log_id="a:b")),
        ("data:\nnext", Draft(text="\nnext")),
    ],
)
def test_a_preamble_says_whose_the_record_is(body: str, draft: Draft) -> None:
    assert _read(TEXT, body.encode()) == [draft]


@pytest.mark.parametrize(
    "body",
    [
        "tenant_id: acme",
        "tenant_id: acme\nlog_id: 7\n",
        "tenant_id: acme\nother: x\ndata: hello",
        "tenant_id: acme\n\ndata: hello",
        "tenant_id: acme\ntenant_id: beta\ndata: hello",
        "\ndata: hello",
        "hello data: x",
        "metadata: x",
        "data",
        "2024-01-01 tenant_id: acme\ndata: hello",
    ],
)
def test_without_a_preamble_the_body_is_the_text(body: str) -> None:
    assert _read(TEXT, body.encode()) == [Draft(text=body)]


def test_a_header_or_split_lines_turns_the_preamble_off() -> None:
    body = "tenant_id: acme\ndata: hello"
    assert _read(TEXT, body.encode(), headers=True) == [Draft(text=body)]
    assert _read(TEXT, body.encode(), split=True) == [Draft(text="tenant_id: acme"), Draft(text="data: hello")]


_pieces = st.sampled_from(["tenant_id:", "log_id:", "data:", "Data :", " ", "\n", "\r\n", "acme", ":", "x", "\0", "é"])


@given(st.lists(_pieces, min_size=1, max_size=10).map("".join))
def test_a_preamble_never_loses_or_invents_text(body: str) -> None:
    [draft] = _read(TEXT, body.encode())
    assert isinstance(draft, Draft)
    assert draft.text is not None
    assert body.endswith((draft.text, draft.text + "\n"))
    for value in (draft.tenant_id, draft.log_id):
        assert value is None or value in body
    if draft.text == body and draft.tenant_id is None:
        assert draft.log_id is None


# -- anything at all -------------------------------------------------------------------------------------------------
_crowded = st.lists(
    st.sampled_from(
        [b"{", b"}", b"[", b"]", b'"', b":", b",", b"text", b'"text"', b"1", b"e9", b"-", b".", b"\\", b"u"]
    )
    | st.sampled_from([b"null", b"true", b"\n", b" ", b"\xff", b"\xed\xa0\x80", b"\0", b"data:", b"log_id:"]),
    max_size=14,
).map(b"".join)
_json: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*Draft.__struct_fields__, "other"]), inner, max_size=4)
    ),
    max_leaves=10,
)


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("source", _SOURCES)
@given(body=st.binary(max_size=40) | _crowded | _json.map(msgspec.json.encode))
@example(body=b'{"a":1,"b":')
@example(body=b'[{"a":1,"b":]')
@example(body=b'[{"a":1}, {"\xff":1}]')
@example(body=b'{"a":"\\ud800"}')
@example(body=b"9" * 5000)
@example(body=b'{"timestamp":' + b"9" * 5000 + b"}")
@example(body=b'{"x":' + b"9" * 5000 + b"}")
def test_any_bytes_make_drafts_or_refusals_and_never_worse(source: str, split: bool, body: bytes) -> None:
    try:
        drafts = _read(source, body, split=split)
    except Refusal:
        return
    assert drafts
    for draft in drafts:
        if isinstance(draft, Draft) and draft.text is not None:
            draft.text.encode()
