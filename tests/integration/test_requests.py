"""What a shipper may send, in every form: each is answered 202 and ends as the documents it means."""

import asyncio
import gzip
import json
import sys
import zlib
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from sluice_core.ids import format_id
from support.ledger import Ledger
from support.raw import exchange
from support.sluice import JSON, NDJSON, TEXT, Account, Sluice, line, unique_id

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


# -- media types -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["text", "data"])
async def test_a_json_object_is_one_record(sluice: Sluice, tenant: Account, field: str) -> None:
    text = line()
    answer = await sluice.send(tenant, {"tenant_id": tenant.id, "log_id": "one", field: text})
    assert answer.status_code == 202
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body["status"] == "accepted"
    assert (body["tenant_id"], body["log_id"], body["accepted"]) == (tenant.id, "one", 1)
    assert body["request_id"] == answer.headers["x-request-id"]
    assert body["message_id"]
    assert "rejected" not in body
    document = await sluice.document(tenant)
    assert (document["_id"], document["source"], document["original_text"]) == ("one", "json_upload", text)


async def test_a_json_array_is_a_batch(sluice: Sluice, tenant: Account) -> None:
    texts = sorted(line() for _ in range(5))
    answer = await sluice.send(tenant, [{"text": texts[0]}, {"data": texts[1]}, *({"text": t} for t in texts[2:])])
    assert answer.status_code == 202
    assert answer.json()["accepted"] == 5
    assert "log_id" not in answer.json()
    assert await sluice.texts(tenant) == texts
    assert {document["source"] for document in await sluice.documents(tenant)} == {"json_upload"}


@pytest.mark.parametrize(
    ("kind", "newline"),
    [
        (NDJSON, "\n"),
        ("application/ndjson", "\r\n"),
        ("application/jsonl", "\n\n"),
        (f"{NDJSON}; charset=UTF-8", "\n \n"),
    ],
)
async def test_ndjson_is_a_record_a_line(sluice: Sluice, tenant: Account, kind: str, newline: str) -> None:
    texts = sorted(line() for _ in range(3))
    answer = await sluice.send(tenant, newline.join(json.dumps({"text": text}) for text in texts) + newline, kind)
    assert (answer.status_code, answer.json()["accepted"]) == (202, 3)
    assert await sluice.texts(tenant) == texts
    assert {document["source"] for document in await sluice.documents(tenant)} == {"ndjson_upload"}


@pytest.mark.parametrize("kind", [TEXT, "Text/Plain; charset=utf-8", 'text/plain; charset="utf-8"'])
async def test_plain_text_is_one_record_to_its_last_byte(sluice: Sluice, tenant: Account, kind: str) -> None:
    text = f"\n  {line()}\r\nsecond: line\n\n"
    answer = await sluice.send(tenant, text, kind)
    assert (answer.status_code, answer.json()["accepted"]) == (202, 1)
    document = await sluice.document(tenant)
    assert (document["_id"], document["source"]) == (answer.json()["log_id"], "text_upload")
    assert document["original_text"] == text


async def test_split_lines_makes_each_line_of_a_text_a_record(sluice: Sluice, tenant: Account) -> None:
    texts = sorted(line() for _ in range(3))
    body = f"{texts[0]}\r\n\n{texts[1]}\n   \n{texts[2]}"
    answer = await sluice.send(tenant, body, TEXT, query={"split": "lines"})
    assert (answer.status_code, answer.json()["accepted"]) == (202, 3)
    assert "log_id" not in answer.json()
    assert await sluice.texts(tenant) == texts


async def test_v1_ingest_is_the_same(sluice: Sluice, tenant: Account) -> None:
    text = line()
    answer = await sluice.send(tenant, {"text": text}, path="/v1/ingest")
    assert answer.status_code == 202
    assert await sluice.texts(tenant) == [text]


# -- the preamble of a text ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
async def test_a_preamble_names_tenant_and_id(sluice: Sluice, tenant: Account, newline: str) -> None:
    text = f"{line()}\nlog_id: not any more\ndata: nor this"
    body = newline.join([f"tenant_id: {tenant.id}", "log_id: from-preamble", f"data: {text}"])
    answer = await sluice.send(tenant, body, TEXT)
    assert answer.status_code == 202
    assert answer.json()["log_id"] == "from-preamble"
    document = await sluice.document(tenant)
    assert (document["_id"], document["original_text"]) == ("from-preamble", text)


@pytest.mark.parametrize("preamble", ["data: {}", "LOG_ID: x\nData:{}", "log_id: x\ntenant_id: {tenant}\ndata: {}"])
async def test_a_preamble_may_be_short_and_in_any_order(sluice: Sluice, tenant: Account, preamble: str) -> None:
    text = line()
    answer = await sluice.send(tenant, preamble.format(text, tenant=tenant.id), TEXT)
    assert answer.status_code == 202
    assert await sluice.texts(tenant) == [text]


@pytest.mark.parametrize(
    ("body", "headers", "query"),
    [
        ("tenant_id: {tenant}\nlog_id: x\nno data line, {}", {}, {}),
        ("log_id: x\n{}\ndata: too late", {}, {}),
        ("level: info\ndata: {}", {}, {}),
        ("log_id: x\nlog_id: y\ndata: {}", {}, {}),
        ("log_id: x\ndata: {}", {"X-Log-ID": "mine"}, {}),
        ("log_id: x\ndata: {}", {"X-Tenant-ID": "{tenant}"}, {}),
        ("log_id: x\ndata: {}", {"X-Scope-OrgID": "{tenant}"}, {}),
        ("data: {}", {}, {"split": "lines"}),
    ],
    ids=["no data", "text first", "unknown field", "repeated", "X-Log-ID", "X-Tenant-ID", "X-Scope-OrgID", "split"],
)
async def test_what_only_looks_like_a_preamble_is_text(
    sluice: Sluice, tenant: Account, body: str, headers: dict[str, str], query: dict[str, str]
) -> None:
    text = body.format(line(), tenant=tenant.id)
    headers = {name: value.format(tenant=tenant.id) for name, value in headers.items()}
    answer = await sluice.send(tenant, text, TEXT, headers=headers, query=query)
    assert answer.status_code == 202
    document = await sluice.document(tenant)
    assert document["original_text"] == text
    assert document["_id"] == headers.get("X-Log-ID", document["_id"]) != "x"


# -- encodings -------------------------------------------------------------------------------------------------------


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "GZip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstd.compress,
    "identity": bytes,
}


async def chunks(body: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]
        await asyncio.sleep(0)


@pytest.mark.parametrize(("encoding", "records"), [*((name, 1) for name in COMPRESS), ("gzip", 1000), ("zstd", 1000)])
async def test_a_compressed_body_is_the_body(sluice: Sluice, tenant: Account, encoding: str, records: int) -> None:
    texts = sorted(line() for _ in range(records))
    body = "\n".join(json.dumps({"text": text}) for text in texts).encode()
    packed = COMPRESS[encoding](body)
    answer = await sluice.send(tenant, packed, NDJSON, headers={"Content-Encoding": encoding})
    assert (answer.status_code, answer.json()["accepted"]) == (202, records)
    assert await sluice.texts(tenant) == texts


async def test_deflate_without_the_zlib_frame_is_read_too(sluice: Sluice, tenant: Account) -> None:
    text = line()
    answer = await sluice.send(tenant, raw_deflate(text.encode()), TEXT, headers={"Content-Encoding": "deflate"})
    assert answer.status_code == 202
    assert await sluice.texts(tenant) == [text]


@pytest.mark.parametrize("encoding", ["identity", "gzip", "zstd"])
async def test_a_chunked_body_is_the_body(sluice: Sluice, tenant: Account, encoding: str) -> None:
    texts = sorted(line() for _ in range(200))
    body = COMPRESS[encoding]("\n".join(json.dumps({"text": text}) for text in texts).encode())
    answer = await sluice.send(tenant, chunks(body), NDJSON, headers={"Content-Encoding": encoding})
    assert answer.request.headers["transfer-encoding"] == "chunked"
    assert (answer.status_code, answer.json()["accepted"]) == (202, 200)
    assert await sluice.texts(tenant) == texts


# -- ids -------------------------------------------------------------------------------------------------------------


async def test_ids_are_made_where_none_are_given_and_returned_on_request(sluice: Sluice, tenant: Account) -> None:
    records: list[dict[str, Any]] = [{"text": line()}, {"text": line(), "log_id": "mine"}, {"text": line()}]
    answer = await sluice.send(tenant, records, query={"return": "ids"})
    ids = answer.json()["log_ids"]
    assert len(set(ids)) == 3
    assert ids[1] == "mine"
    stored = {document["_id"]: document["original_text"] for document in await sluice.documents(tenant)}
    assert stored == dict(zip(ids, [record["text"] for record in records], strict=True))


async def test_made_up_ids_sort_by_time(sluice: Sluice, tenant: Account) -> None:
    ids = [(await sluice.send(tenant, line(), TEXT)).json()["log_id"] for _ in range(3)]
    assert ids == sorted(ids)
    assert all(len(log_id) == len(format_id(0)) and log_id[14] == "7" for log_id in ids)
    await sluice.idle()


async def test_the_header_names_the_only_record(sluice: Sluice, tenant: Account) -> None:
    for kind, content in ((TEXT, line()), (JSON, {"text": line()}), (JSON, {"text": line(), "log_id": "Grüße/2 "})):
        own = content.get("log_id") if isinstance(content, dict) else None
        log_id = own or unique_id("header")
        answer = await sluice.send(tenant, content, kind, headers={"X-Log-ID": log_id.strip()} if not own else {})
        assert (answer.status_code, answer.json()["log_id"]) == (202, log_id)
        await sluice.idle()
        assert await sluice.logs(tenant).find_one({"_id": log_id})


async def test_a_log_id_may_have_256_bytes_of_anything(sluice: Sluice, tenant: Account) -> None:
    ids = ["x" * 256, "ü" * 128, "a b\tc/$.{}\"'", "\x00", "日本語"]
    answer = await sluice.send(tenant, [{"text": line(), "log_id": log_id} for log_id in ids])
    assert (answer.status_code, answer.json()["accepted"]) == (202, 5)
    assert {document["_id"] for document in await sluice.documents(tenant)} == set(ids)


@pytest.mark.parametrize(
    ("kind", "content", "query"),
    [
        (JSON, {"text": "{}"}, {}),
        (JSON, [{"text": "{}"}, {"text": "{}"}, {"text": "{}", "attributes": {"n": 1}}], {}),
        (NDJSON, '{"text":"{}"}\n{"text":"{}"}', {}),
        (TEXT, "{}", {}),
        (TEXT, "{}\n{}\n{}", {"split": "lines"}),
    ],
    ids=["object", "array", "ndjson", "text", "lines"],
)
async def test_a_retry_with_its_idempotency_key_stores_nothing_twice(
    sluice: Sluice, tenant: Account, kind: str, content: Any, query: dict[str, str]
) -> None:
    body = (content if isinstance(content, str) else json.dumps(content)).replace("{}", line())
    ids = []
    for _ in range(3):
        headers = {"Idempotency-Key": "retry-1"}
        answer = await sluice.send(tenant, body, kind, headers=headers, query={"return": "ids", **query})
        assert answer.status_code == 202
        ids.append(answer.json()["log_ids"])
    assert ids[0] == ids[1] == ids[2]
    assert sorted(ids[0]) == [document["_id"] for document in await sluice.documents(tenant)]


async def test_a_reused_idempotency_key_overwrites_nothing(sluice: Sluice, tenant: Account, other: Account) -> None:
    texts = sorted(line() for _ in range(3))
    for text in texts:
        assert (await sluice.send(tenant, text, TEXT, headers={"Idempotency-Key": "k"})).status_code == 202
    await sluice.send(tenant, {"text": texts[0], "attributes": {"a": 1}}, headers={"Idempotency-Key": "k"})
    assert await sluice.texts(tenant) == sorted([*texts, texts[0]])
    await sluice.send(other, texts[0], TEXT, headers={"Idempotency-Key": "k"})
    [mine] = await sluice.documents(other)
    assert mine["_id"] not in {document["_id"] for document in await sluice.documents(tenant)}


async def test_a_retry_stores_only_what_the_first_attempt_lacked(sluice: Sluice, tenant: Account) -> None:
    """As after a 503 in the middle of a request of several envelopes."""
    records = [{"text": line()} for _ in range(4)]
    headers = {"Idempotency-Key": "half"}
    await sluice.send(tenant, records[:2], headers=headers)
    await sluice.send(tenant, records, headers=headers)
    assert await sluice.texts(tenant) == sorted(record["text"] for record in records)


async def test_same_lines_without_ids_are_different_records(sluice: Sluice, tenant: Account) -> None:
    text = line()
    await sluice.send(tenant, [{"text": text}, {"text": text}])
    await sluice.send(tenant, [{"text": text}, {"text": text}], headers={"Idempotency-Key": "k"})
    assert await sluice.texts(tenant) == [text] * 4


# -- what headers carry ----------------------------------------------------------------------------------------------


async def test_the_request_id_is_returned_and_stored(sluice: Sluice, tenant: Account) -> None:
    answer = await sluice.send(tenant, line(), TEXT, headers={"X-Request-Id": "req-42/a+b="})
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "req-42/a+b="
    assert (await sluice.document(tenant))["correlation_id"] == "req-42/a+b="


@pytest.mark.parametrize("unfit", ["with space", "x" * 129, "Grüße", "a\tb"])
async def test_a_request_id_unfit_to_be_repeated_is_replaced(sluice: Sluice, tenant: Account, unfit: str) -> None:
    answer = await sluice.send(tenant, line(), TEXT, headers={"X-Request-Id": unfit})
    made = answer.json()["request_id"]
    assert answer.status_code == 202
    assert answer.headers["x-request-id"] == made != unfit
    assert (await sluice.document(tenant))["correlation_id"] == made


async def test_refusals_carry_the_request_id_too(sluice: Sluice) -> None:
    answer = await sluice.send(None, line(), TEXT, headers={"X-Request-Id": "req-43"})
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "req-43"


async def test_the_trace_context_is_stored(sluice: Sluice, tenant: Account) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await sluice.send(tenant, {"log_id": "traced", "text": line()}, headers={"traceparent": trace})
    await sluice.send(tenant, {"log_id": "untraced", "text": line()}, headers={"traceparent": "00-nonsense"})
    traced, untraced = await sluice.documents(tenant)
    assert traced["traceparent"] == trace
    assert "traceparent" not in untraced


@pytest.mark.parametrize("user", ["", "anyone"])
async def test_the_key_may_be_the_basic_password(sluice: Sluice, tenant: Account, user: str) -> None:
    text = line()
    credentials = b64encode(f"{user}:{tenant.key}".encode()).decode()
    answer = await sluice.send(None, text, TEXT, headers={"Authorization": f"Basic {credentials}"})
    assert answer.status_code == 202
    assert await sluice.texts(tenant) == [text]


async def test_the_scheme_may_be_written_in_any_case(sluice: Sluice, tenant: Account) -> None:
    answer = await sluice.send(None, line(), TEXT, headers={"Authorization": f"bearer  {tenant.key}"})
    assert answer.status_code == 202
    assert len(await sluice.documents(tenant)) == 1


@pytest.mark.parametrize("header", ["X-Tenant-ID", "X-Scope-OrgID"])
async def test_naming_ones_own_tenant_is_fine(sluice: Sluice, tenant: Account, header: str) -> None:
    record = {"tenant_id": tenant.id, "text": line()}
    answer = await sluice.send(tenant, record, headers={header: tenant.id})
    assert answer.status_code == 202
    assert len(await sluice.documents(tenant)) == 1


# -- batches with bad records in them --------------------------------------------------------------------------------


async def test_bad_records_of_an_array_are_refused_by_index_and_their_mates_stored(
    sluice: Sluice, ledger: Ledger, tenant: Account
) -> None:
    good = [{"log_id": unique_id("good"), "text": line()} for _ in range(3)]
    records: list[Any] = [
        {"text": ""},
        good[0],
        {"log_id": 7, "text": line()},
        "no object",
        good[1],
        {"tenant_id": "somebody-else", "text": line()},
        {"text": line(), "timestamp": "yesterday"},
        {"text": line(), "log_id": "x" * 257},
        {"text": "x" * (256 * 1024 + 1)},
        good[2],
    ]
    entries = [
        ledger.note(tenant, good_one["log_id"], good_one["text"])
        if (good_one := record if record in good else None)
        else ledger.note(tenant, None, record["text"] if isinstance(record, dict) else record)
        for record in records
    ]
    answer = await sluice.send(tenant, records, query={"return": "ids"})
    body = answer.json()
    assert (answer.status_code, body["accepted"]) == (202, 3)
    assert {rejected["index"]: rejected["code"] for rejected in body["rejected"]} == {
        0: "missing_field",
        2: "invalid_field",
        3: "invalid_field",
        5: "other_tenant",
        6: "invalid_field",
        7: "invalid_field",
        8: "record_too_large",
    }
    assert all(rejected["detail"] for rejected in body["rejected"])
    assert body["log_ids"] == [record["log_id"] for record in good]
    ledger.read(answer, entries)
    await ledger.check()


async def test_bad_lines_of_ndjson_are_refused_by_index_and_their_mates_stored(sluice: Sluice, tenant: Account) -> None:
    texts = sorted(line() for _ in range(3))
    good = [json.dumps({"text": text}).encode() for text in texts]
    body = b"\n".join([good[0], b'{"text": "cut o', b'{"text":"\xff"}', good[1], b"[]", b"nonsense", good[2]])
    answer = await sluice.send(tenant, body, NDJSON)
    assert (answer.status_code, answer.json()["accepted"]) == (202, 3)
    assert [(entry["index"], entry["code"]) for entry in answer.json()["rejected"]] == [
        (1, "malformed_json"),
        (2, "invalid_text"),
        (4, "invalid_field"),
        (5, "malformed_json"),
    ]
    assert await sluice.texts(tenant) == texts


async def test_a_line_that_is_no_utf8_is_refused_and_its_mates_stored(sluice: Sluice, tenant: Account) -> None:
    texts = sorted(line() for _ in range(2))
    body = b"\n".join([texts[0].encode(), b"\xc3\x28", texts[1].encode()])
    answer = await sluice.send(tenant, body, TEXT, query={"split": "lines"})
    assert (answer.status_code, answer.json()["accepted"]) == (202, 2)
    assert [(entry["index"], entry["code"]) for entry in answer.json()["rejected"]] == [(1, "invalid_text")]
    assert await sluice.texts(tenant) == texts


async def test_a_record_too_long_costs_its_mates_nothing(sluice: Sluice, ledger: Ledger) -> None:
    tenant = await sluice.tenant("short", limits={"maxRecordBytes": 100})
    answer, entries = await ledger.send(tenant, [{"text": line()}, {"text": line().ljust(101)}, {"text": line()}])
    assert answer.status_code == 202
    assert [(entry["index"], entry["code"]) for entry in answer.json()["rejected"]] == [(1, "record_too_large")]
    assert [entry.outcome.value for entry in entries] == ["accepted", "refused", "accepted"]
    await ledger.check()


async def test_when_all_are_refused_the_first_one_decides_the_status(sluice: Sluice, tenant: Account) -> None:
    bad: list[dict[str, Any]] = [{"tenant_id": "somebody-else", "text": line()}, {"text": ""}, {"text": "x" * 300_000}]
    for first, status, code in ((0, 403, "other_tenant"), (1, 400, "missing_field"), (2, 413, "record_too_large")):
        async with sluice.nothing_published():
            answer = await sluice.send(tenant, bad[first:] + bad[:first])
        body = answer.json()
        assert (answer.status_code, body["code"]) == (status, code)
        assert [entry["index"] for entry in body["rejected"]] == [0, 1, 2]
        assert body["rejected"][0]["code"] == code


async def test_a_flood_of_bad_records_is_answered_in_bounds(sluice: Sluice, tenant: Account) -> None:
    async with sluice.nothing_published():
        answer = await sluice.send(tenant, "{}\n" * 50_000, NDJSON)
    body = answer.json()
    assert answer.status_code == 400
    assert (len(body["rejected"]), body["rejected_total"]) == (1000, 50_000)


# -- fields ----------------------------------------------------------------------------------------------------------


async def test_fields_it_does_not_know_become_attributes(sluice: Sluice, tenant: Account) -> None:
    record = {"text": line(), "level": "info", "http": {"status": 200}, "attributes": {"own": [1, None, True, 1.5]}}
    assert (await sluice.send(tenant, record)).status_code == 202
    assert (await sluice.document(tenant))["attributes"] == {
        "level": "info",
        "http": {"status": 200},
        "own": [1, None, True, 1.5],
    }


async def test_attributes_may_be_named_as_operators_and_paths_are(sluice: Sluice, tenant: Account) -> None:
    attributes = {"$set": {"a": 1}, "a.b": 2, "": 3, "_id": 4, "ключ": "значение", "большое": 2**63 - 1}
    for text in (line(), line()):  # the second replaces the first, which takes another road into the database
        answer = await sluice.send(tenant, {"log_id": "x", "text": text, "attributes": attributes})
        assert answer.status_code == 202
        assert (await sluice.document(tenant))["attributes"] == attributes
    assert (await sluice.document(tenant))["original_text"] == text


async def test_attributes_may_be_64_levels_deep(sluice: Sluice, tenant: Account) -> None:
    nested: Any = "leaf"
    for _ in range(63):
        nested = {"k": nested}
    answer = await sluice.send(tenant, {"text": line(), "attributes": nested})
    assert answer.status_code == 202
    assert (await sluice.document(tenant))["attributes"] == nested


MOMENT = datetime(2024, 3, 5, 1, 2, 3, 123_000, tzinfo=UTC)


FORMS: list[str | float] = [
    "2024-03-05T01:02:03.123Z",
    "2024-03-05T01:02:03.123",
    "2024-03-05T02:02:03.123+01:00",
    "2024-03-05 01:02:03.123Z",
    "2024-03-04T15:02:03.123456789-10:00",
    1709600523.123,
    1709600523123,
    1709600523123456,
    1709600523123456789,
]


async def test_an_events_own_time_is_read_in_every_form(sluice: Sluice, tenant: Account) -> None:
    records = [{"log_id": str(form), "text": line(), "timestamp": form} for form in FORMS]
    answer = await sluice.send(tenant, records)
    assert "rejected" not in answer.json()
    found = {document["_id"]: document["timestamp"] for document in await sluice.documents(tenant)}
    assert found == {str(form): MOMENT for form in FORMS}


TEXTS = [
    "🙂 emoji \U0001f469\u200d\U0001f680",
    "עברית والعربية \u202e",
    "e\u0301 not é",
    "NUL \x00 inside",
    "\ufeffBOM",
    "line\u2028separator",
    "日本語のログ",
    "\U0010ffff",
]


@pytest.mark.parametrize("kind", [JSON, NDJSON, TEXT])
async def test_text_comes_back_as_it_was_sent(sluice: Sluice, tenant: Account, kind: str) -> None:
    texts = [f"{line()} {text}" for text in TEXTS]
    for text in texts:
        body = text if kind is TEXT else json.dumps({"text": text}, ensure_ascii=kind is JSON)
        assert (await sluice.send(tenant, body.encode(), kind)).status_code == 202
    documents = await sluice.documents(tenant)
    assert [document["original_text"] for document in documents] == texts
    assert [document["modified_data"] for document in documents] == texts
    assert [document["char_count"] for document in documents] == [len(text) for text in texts]


# -- size and connections --------------------------------------------------------------------------------------------


async def test_a_request_of_several_megabytes_is_stored_whole(sluice: Sluice, ledger: Ledger, tenant: Account) -> None:
    before = await sluice.published()
    answer, entries = await ledger.send(tenant, [{"text": line("x" * 2000)} for _ in range(3_000)])
    assert (answer.status_code, answer.json()["accepted"]) == (202, 3_000)
    assert await sluice.published() - before > 20, "it fits one message: this test shows nothing"
    await ledger.check()
    assert len({entry.log_id for entry in entries}) == await sluice.logs(tenant).count_documents({})


async def test_made_up_ids_stay_unique_across_envelopes(sluice: Sluice, tenant: Account) -> None:
    body = "\n".join(line("y" * 200) for _ in range(5_000))
    answer = await sluice.send(tenant, body, TEXT, query={"split": "lines", "return": "ids"})
    ids = answer.json()["log_ids"]
    assert len(set(ids)) == 5_000
    assert [document["_id"] for document in await sluice.documents(tenant)] == sorted(ids)


async def test_the_largest_record_of_all_is_stored(sluice: Sluice) -> None:
    tenant = await sluice.tenant("large", limits={"maxRecordBytes": 1024 * 1024})
    text = line().ljust(1024 * 1024, "\u20ac")[: 1024 * 1024 // 3]
    assert (await sluice.send(tenant, text, TEXT)).status_code == 202
    assert await sluice.texts(tenant) == [text]


async def test_many_senders_at_once_share_commits_and_lose_nothing(
    sluice: Sluice, ledger: Ledger, tenant: Account, other: Account
) -> None:
    before = await sluice.published()
    await asyncio.gather(*(ledger.send_lines(who, 2) for who in (tenant, other) for _ in range(60)))
    assert len(ledger.accepted) == 240
    assert await sluice.published() - before < 120, "each request was a commit of its own"
    await ledger.check()


async def test_requests_that_follow_each_other_unasked_are_all_answered(sluice: Sluice, tenant: Account) -> None:
    texts = sorted(line() for _ in range(3))
    head = f"POST /ingest HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {tenant.key}\r\nContent-Type: text/plain\r\n"
    requests = "".join(f"{head}Content-Length: {len(text)}\r\n\r\n{text}" for text in texts)
    answers = await exchange(sluice.url, requests.encode(), answers=3)
    assert [answer.status for answer in answers] == [202, 202, 202]
    assert await sluice.texts(tenant) == texts


async def test_who_asks_before_sending_is_told_to_go_on(sluice: Sluice, tenant: Account) -> None:
    text = line()
    head = (
        f"POST /ingest HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {tenant.key}\r\nContent-Type: text/plain\r\n"
        f"Expect: 100-continue\r\nContent-Length: {len(text)}\r\n\r\n"
    )
    go_on, answer = await exchange(sluice.url, head.encode(), text.encode(), answers=2)
    assert (go_on.status, answer.status) == (100, 202)
    assert await sluice.texts(tenant) == [text]


async def test_a_body_that_breaks_off_is_not_taken(sluice: Sluice, tenant: Account) -> None:
    head = (
        f"POST /ingest HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {tenant.key}\r\nContent-Type: text/plain\r\n"
        f"Content-Length: 1000\r\n\r\n{line()}"
    )
    async with sluice.nothing_published():
        assert await exchange(sluice.url, head.encode(), answers=0) == []
        await asyncio.sleep(0.1)
