"""Input made to confuse: refused, or stored exactly as it was sent; never something else, and never somebody else's."""

import json
from typing import Any

import pytest

from support.ledger import Ledger
from support.raw import connect, exchange, post_head
from support.sluice import JSON, NDJSON, TEXT, Account, Sluice, line

# -- requests that two programs could read differently ---------------------------------------------------------------

SMUGGLED = "smuggled"
"""The id of a record that no well-read request brings."""


def _inner(key: str) -> bytes:
    body = json.dumps({"log_id": SMUGGLED, "text": line()}).encode()
    return post_head(key, length=len(body)) + body


FRAMINGS = {
    "length 0 before chunked": "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
    "chunked before length": "Transfer-Encoding: chunked\r\nContent-Length: {n}\r\n",
    "length twice": "Content-Length: 0\r\nContent-Length: {n}\r\n",
    "length twice, the same": "Content-Length: {n}\r\nContent-Length: {n}\r\n",
    "length as a list": "Content-Length: {n}, {n}\r\n",
    "negative length": "Content-Length: -{n}\r\n",
    "length with a plus": "Content-Length: +{n}\r\n",
    "length beyond 64 bits": "Content-Length: 18446744073709551616\r\n",
    "length folded": "Content-Length:\r\n {n}\r\n",
    "folded header": "X-A: b\r\n c\r\nContent-Length: {n}\r\n",
    "another coding": "Transfer-Encoding: xchunked\r\n",
    "gzip, then chunked": "Transfer-Encoding: gzip, chunked\r\n",
    "chunked, then identity": "Transfer-Encoding: chunked, identity\r\n",
    "chunked twice": "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "vertical tab": "Transfer-Encoding:\x0bchunked\r\n",
    "NUL in a header": "X-A: a\0b\r\nContent-Length: {n}\r\n",
    "bare line feed": "X-A: b\nContent-Length: {n}\r\n",
    "two Hosts": "Host: y\r\nContent-Length: {n}\r\n",
}


@pytest.mark.parametrize("name", FRAMINGS)
async def test_nothing_is_smuggled_behind_an_ambiguous_request(sluice: Sluice, tenant: Account, name: str) -> None:
    for begin in (b"0\r\n\r\n", b"", b"3\r\nabc\r\n0\r\n\r\n"):
        rest = begin + _inner(tenant.key)
        head = (
            f"POST /ingest HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {tenant.key}\r\nContent-Type: text/plain\r\n"
            f"{FRAMINGS[name].format(n=len(rest))}\r\n"
        )
        async with sluice.nothing_published():
            answers = await exchange(sluice.url, head.encode("latin-1") + rest, answers=3, within=10)
        assert [answer.status for answer in answers] in ([400], [])


LINES = {
    "absolute target": b"POST http://other/ingest HTTP/1.1",
    "HTTP/2.0": b"POST /ingest HTTP/2.0",
    "HTTP/0.9": b"POST /ingest",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "nothing but NUL": bytes(100),
}


@pytest.mark.parametrize("name", LINES)
async def test_what_is_no_request_of_http_1_is_refused(sluice: Sluice, tenant: Account, name: str) -> None:
    inner = _inner(tenant.key)
    async with sluice.nothing_published():
        answers = await exchange(sluice.url, LINES[name] + inner[inner.index(b"\r\n") :], answers=2, within=10)
    assert [answer.status for answer in answers] in ([400], [])


async def test_trailers_change_nothing(sluice: Sluice, tenant: Account, other: Account) -> None:
    text = line()
    body = b"%x\r\n%s\r\n0\r\n" % (len(text), text.encode())
    trailers = f"Authorization: Bearer {other.key}\r\nX-Tenant-ID: {other.id}\r\nX-Log-ID: {SMUGGLED}\r\n\r\n"
    head = (
        post_head(tenant.key, chunked=True)
        .replace(b"x-ndjson", b"x-ndjson")
        .replace(b"application/x-ndjson", b"text/plain")
    )
    [answer] = await exchange(sluice.url, head + body + trailers.encode())
    assert (answer.status, answer.json()["tenant_id"]) == (202, tenant.id)
    assert (await sluice.document(tenant))["_id"] != SMUGGLED
    assert await sluice.documents(other) == []


async def test_good_requests_before_a_bad_one_are_answered_in_order_and_stored(
    sluice: Sluice, ledger: Ledger, tenant: Account
) -> None:
    entries = [ledger.note(tenant, f"good-{number}", line()) for number in range(5)]
    sent = b""
    for entry in entries:
        body = json.dumps({"log_id": entry.log_id, "text": entry.text}).encode()
        sent += post_head(tenant.key, length=len(body)) + body
    bad = post_head(tenant.key, more="Transfer-Encoding: chunked\r\n") + _inner(tenant.key)
    answers = await exchange(sluice.url, sent + bad, answers=7, within=20)
    assert [answer.status for answer in answers[:5]] == [202] * 5
    assert [answer.status for answer in answers[5:]] in ([], [400])
    assert [document["_id"] for document in await sluice.documents(tenant)] == [entry.log_id for entry in entries]


async def test_headers_too_large_are_refused(sluice: Sluice, tenant: Account) -> None:
    [answer] = await exchange(sluice.url, post_head(tenant.key, more=f"X-A: {'a' * 100_000}\r\n"))
    assert (answer.status, answer.json()["code"]) == (431, "headers_too_large")
    async with connect(sluice.url) as endless:
        await endless.send(post_head(tenant.key)[:-2])
        while not endless.answered() and await endless.send(b"X-A: b\r\n" * 1000):
            pass
        refusal = await endless.answer()
    assert refusal is not None
    assert (refusal.status, refusal.json()["code"]) == (431, "headers_too_large")


# -- bodies ----------------------------------------------------------------------------------------------------------

KEPT: dict[str, Any] = {
    "NUL in the text": {"text": "a\0b"},
    "nothing but NUL": {"text": "\0\0\0"},
    "NUL in an attribute": {"text": "x", "attributes": {"a": "b\0c"}},
    "the largest integer": {"text": "x", "attributes": {"a": 2**63 - 1, "b": -(2**63)}},
    "noncharacters": {"text": "\ufffe\uffff\U0010ffff\ufeff"},
    "names of the language": {"text": "x", "attributes": {"__proto__": {"a": 1}, "constructor": 1}},
    "operators": {"text": "x", "attributes": {"$where": "1", "a.b": {"$ne": None}, "_id": 1}},
}


@pytest.mark.parametrize("name", KEPT)
async def test_what_is_odd_and_valid_is_kept_as_it_is(sluice: Sluice, tenant: Account, name: str) -> None:
    record = KEPT[name]
    assert (await sluice.send(tenant, record)).status_code == 202
    document = await sluice.document(tenant)
    assert document["original_text"] == record["text"]
    assert document.get("attributes", {}) == record.get("attributes", {})


REFUSED: dict[str, tuple[str, bytes]] = {
    "lone surrogate": (JSON, b'{"text":"a\\ud800b"}'),
    "surrogates the wrong way round": (JSON, b'{"text":"\\udc00\\ud800"}'),
    "lone surrogate in an attribute": (JSON, b'{"text":"x","attributes":{"a":"\\udfff"}}'),
    "lone surrogate in a key": (JSON, b'{"text":"x","attributes":{"\\ud800":1}}'),
    "surrogate as UTF-8": (JSON, b'{"text":"\xed\xa0\x80"}'),
    "NUL in a key": (JSON, b'{"text":"x","attributes":{"a\\u0000":1}}'),
    "an integer of 65 bits": (JSON, b'{"text":"x","attributes":{"a":18446744073709551616}}'),
    "an unsigned integer of 64 bits": (JSON, b'{"text":"x","attributes":{"a":9223372036854775808}}'),
    "an integer of 100,000 digits": (JSON, b'{"text":"x","attributes":{"a":' + b"9" * 100_000 + b"}}"),
    "an exponent beyond all": (JSON, b'{"text":"x","attributes":{"a":1e999999999}}'),
    "not a number": (JSON, b'{"text":"x","attributes":{"a":NaN}}'),
    "depth": (JSON, b'{"text":"x","attributes":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001),
    "depth of arrays": (JSON, b"[" * 1_000_000),
    "depth where none may be": (JSON, b'{"text":' + b"[" * 1_000 + b"]" * 1_000 + b"}"),
    "depth in a line": (NDJSON, b'{"a":' * 10_000),
    "overlong UTF-8": (JSON, b'{"text":"\xc0\xaf"}'),
    "UTF-16": (JSON, '{"text":"x"}'.encode("utf-16")),
    "UTF-8 cut off": (JSON, b'{"text":"\xe2\x82"}'),
    "text that is no UTF-8": (TEXT, b"caf\xe9"),
    "text with a surrogate": (TEXT, b"\xed\xb0\x80"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_could_not_be_kept_as_it_is_is_refused(sluice: Sluice, tenant: Account, name: str) -> None:
    kind, body = REFUSED[name]
    async with sluice.nothing_published():
        answer = await sluice.send(tenant, body, kind)
        assert answer.status_code in {400, 413}
        batch = await sluice.send(tenant, b"[" + body + b"]", JSON) if kind is JSON else answer
        assert batch.status_code in {400, 413}


async def test_of_lines_in_no_known_encoding_the_good_ones_are_kept_and_the_others_named(
    sluice: Sluice, tenant: Account
) -> None:
    good = [f"{line()} caf\u00e9", line()]
    lines = [good[0].encode(), "caf\u00e9".encode("latin-1"), b"\xff\xfe", good[1].encode(), b"\xed\xa0\x80"]
    answer = await sluice.send(tenant, b"\n".join(lines), TEXT, query={"split": "lines"})
    assert (answer.status_code, answer.json()["accepted"]) == (202, 2)
    refused = [(entry["index"], entry["code"]) for entry in answer.json()["rejected"]]
    assert refused == [(1, "invalid_text"), (2, "invalid_text"), (4, "invalid_text")]
    assert await sluice.texts(tenant) == sorted(good)


async def test_a_request_has_a_largest_number_of_records(sluice: Sluice, tenant: Account) -> None:
    for kind, body in ((NDJSON, b'{"text":"a"}\n' * 100_001), (JSON, b"[" + b'{"text":"a"},' * 100_000 + b"{}]")):
        async with sluice.nothing_published():
            answer = await sluice.send(tenant, body, kind)
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
        assert "100000" in answer.json()["detail"]
