"""Every way of being refused: the status and code of the design, a body that says what to do, and nothing stored."""

import asyncio
import gzip
import json
import zlib
from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest

from sluice_core.keys import generate_key
from support.raw import exchange
from support.sluice import CANARY, JSON, NDJSON, TEXT, Account, Sluice, line
from support.waiting import eventually

ECHO = f"zebra4711{CANARY}"
"""Stands in everything that is sent here and in nothing that is answered."""

FIELDS = {"type", "title", "status", "detail", "code", "retryable", "request_id"}
LIMIT = 20_000


def check_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The answer is a whole problem body with this status and code that repeats nothing of what was sent."""
    assert (answer.status_code, answer.json().get("code")) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body.keys() >= FIELDS
    assert body.keys() <= FIELDS | {"rejected", "rejected_total"}
    assert (body["status"], body["type"]) == (status, f"urn:sluice:reason:{code}")
    assert body["title"]
    assert body["detail"]
    assert body["request_id"] == answer.headers["x-request-id"]
    assert body["retryable"] is (status == 503)
    assert ("retry-after" in answer.headers) is body["retryable"]
    assert ("www-authenticate" in answer.headers) is (status == 401)
    assert ECHO.lower() not in answer.text.lower()
    assert CANARY not in answer.text
    return body


class Case(msgspec.Struct):
    """One bad request."""

    content: Any
    status: int
    code: str
    kind: str | None = JSON
    headers: dict[str, str] = {}
    query: dict[str, str] = {}


def nested(levels: int) -> Any:
    value: Any = ECHO
    for _ in range(levels):
        value = {ECHO: value}
    return value


GOOD = {"text": ECHO}
GZIP, ZSTD, DEFLATE = ({"Content-Encoding": name} for name in ("gzip", "zstd", "deflate"))
PACKED = gzip.compress(json.dumps(GOOD).encode())

CASES = {
    # 400: the body
    "json cut off": Case(f'{{"text": "{ECHO}', 400, "malformed_json"),
    "json with something after it": Case(f'{{"text": "{ECHO}"}} {ECHO}', 400, "malformed_json"),
    "text sent as json": Case(ECHO, 400, "malformed_json"),
    "json nested without end": Case("[" * 15_000, 400, "malformed_json"),
    "json nested within attributes": Case('{"attributes":' * 1_300, 400, "malformed_json"),
    "lone surrogate": Case(f'{{"text": "{ECHO} \\ud800"}}', 400, "malformed_json"),
    "json string": Case(json.dumps(ECHO), 400, "invalid_field"),
    "json number": Case("4711", 400, "invalid_field"),
    "json null": Case("null", 400, "invalid_field"),
    "array of strings": Case([ECHO], 400, "invalid_field"),
    "no text": Case({"message": ECHO}, 400, "missing_field"),
    "no field": Case({}, 400, "missing_field"),
    "empty text": Case({"text": "", "a": ECHO}, 400, "missing_field"),
    "null text": Case({"text": None, "a": ECHO}, 400, "missing_field"),
    "text is a number": Case({"text": 4711, "a": ECHO}, 400, "invalid_field"),
    "text is an object": Case({"text": {ECHO: ECHO}}, 400, "invalid_field"),
    "text and data": Case({"text": ECHO, "data": ECHO}, 400, "invalid_field"),
    "ndjson with a bad line only": Case(f'{{"text": {ECHO}', 400, "malformed_json", NDJSON),
    "empty json": Case("", 400, "empty_body"),
    "blank json": Case(" \n ", 400, "empty_body"),
    "empty array": Case([], 400, "empty_body"),
    "empty ndjson": Case("", 400, "empty_body", NDJSON),
    "blank ndjson": Case("\n\n \n", 400, "empty_body", NDJSON),
    "empty text body": Case("", 400, "empty_body", TEXT),
    "only blank lines": Case("\n \r\n", 400, "empty_body", TEXT, query={"split": "lines"}),
    "preamble without text": Case("log_id: x\ndata:", 400, "missing_field", TEXT),
    "text that is no utf-8": Case(ECHO.encode() + b"\xff", 400, "invalid_text", TEXT),
    "json that is no utf-8": Case(f'{{"text":"{ECHO}'.encode() + b'\xff"}', 400, "invalid_text"),
    "json key that is no utf-8": Case(f'{{"text":"{ECHO}","\xff":1}}'.encode("latin-1"), 400, "invalid_text"),
    "array that is no utf-8": Case(f'[{{"text":"{ECHO}'.encode() + b'\xff"}]', 400, "invalid_text"),
    "ndjson that is no utf-8": Case(f'{{"text":"{ECHO}'.encode() + b'\xff"}', 400, "invalid_text", NDJSON),
    # 400: fields
    "log_id is empty": Case({**GOOD, "log_id": ""}, 400, "invalid_field"),
    "log_id is too long": Case({**GOOD, "log_id": ECHO.ljust(257, "x")}, 400, "invalid_field"),
    "log_id is too long in bytes": Case({**GOOD, "log_id": "ü" * 129}, 400, "invalid_field"),
    "log_id is a number": Case({**GOOD, "log_id": 4711}, 400, "invalid_field"),
    "attributes are a string": Case({**GOOD, "attributes": ECHO}, 400, "invalid_field"),
    "attributes are too deep": Case({**GOOD, "attributes": nested(65)}, 400, "invalid_field"),
    "an attribute is too large": Case({**GOOD, "attributes": {ECHO: 2**63}}, 400, "invalid_field"),
    "an attribute is far too large": Case({**GOOD, "attributes": {ECHO: 10**30}}, 400, "invalid_field"),
    "an attribute is too small": Case({**GOOD, "attributes": {ECHO: [-(2**63) - 1]}}, 400, "invalid_field"),
    "an attribute is infinite": Case(f'{{"text":"{ECHO}","attributes":{{"a":1e999}}}}', 400, "invalid_field"),
    "an unknown field is too large": Case({**GOOD, ECHO: 2**64}, 400, "invalid_field"),
    "an attribute's key holds NUL": Case({**GOOD, "attributes": {f"{ECHO}\0": 1}}, 400, "invalid_field"),
    "a field stands twice": Case({**GOOD, ECHO: 1, "attributes": {ECHO: 2}}, 400, "invalid_field"),
    "time is a word": Case({**GOOD, "timestamp": ECHO}, 400, "invalid_field"),
    "time is a flag": Case({**GOOD, "timestamp": True}, 400, "invalid_field"),
    "time is too early": Case({**GOOD, "timestamp": "1969-12-31T23:59:59Z"}, 400, "invalid_field"),
    "time is negative": Case({**GOOD, "timestamp": -1}, 400, "invalid_field"),
    "time is too late": Case({**GOOD, "timestamp": 10**30}, 400, "invalid_field"),
    "time is infinite": Case(f'{{"text":"{ECHO}","timestamp":1e999}}', 400, "invalid_field"),
    "time has no such offset": Case({**GOOD, "timestamp": "2024-01-01T00:00:00+99:00"}, 400, "invalid_field"),
    "time at the edge of the calendar": Case({**GOOD, "timestamp": "0001-01-01T00:00:00+14:00"}, 400, "invalid_field"),
    # 400: headers and encodings
    "tenant header of a wrong form": Case(GOOD, 400, "invalid_header", headers={"X-Tenant-ID": f"../{ECHO}"}),
    "scope header of a wrong form": Case(GOOD, 400, "invalid_header", headers={"X-Scope-OrgID": "a|b"}),
    "X-Log-ID too long": Case(GOOD, 400, "invalid_header", headers={"X-Log-ID": ECHO.ljust(257, "x")}),
    "X-Log-ID empty": Case(GOOD, 400, "invalid_header", headers={"X-Log-ID": ""}),
    "Idempotency-Key too long": Case(GOOD, 400, "invalid_header", headers={"Idempotency-Key": "x" * 256}),
    "Idempotency-Key empty": Case(GOOD, 400, "invalid_header", headers={"Idempotency-Key": ""}),
    "X-Log-ID for a batch": Case([GOOD, GOOD], 400, "invalid_field", headers={"X-Log-ID": ECHO}),
    "X-Log-ID against log_id": Case({**GOOD, "log_id": "a"}, 400, "invalid_field", headers={"X-Log-ID": "b"}),
    "gzip that is none": Case(ECHO, 400, "corrupt_encoding", TEXT, GZIP),
    "gzip cut off": Case(PACKED[:-9], 400, "corrupt_encoding", JSON, GZIP),
    "gzip with a wrong checksum": Case(PACKED[:-8] + b"01234567", 400, "corrupt_encoding", JSON, GZIP),
    "gzip with something after it": Case(PACKED + PACKED, 400, "corrupt_encoding", JSON, GZIP),
    "zstd that is none": Case(ECHO, 400, "corrupt_encoding", TEXT, ZSTD),
    "deflate that is none": Case(ECHO, 400, "corrupt_encoding", TEXT, DEFLATE),
    "nothing at all as gzip": Case("", 400, "corrupt_encoding", TEXT, GZIP),
    # 403
    "another tenant in the object": Case({**GOOD, "tenant_id": "stranger"}, 403, "other_tenant"),
    "no tenant id in the object": Case({**GOOD, "tenant_id": ECHO.upper()}, 403, "other_tenant"),
    "another tenant in the array": Case([{**GOOD, "tenant_id": "stranger"}], 403, "other_tenant"),
    "another tenant in ndjson": Case('{"text":"x","tenant_id":"stranger"}\n', 403, "other_tenant", NDJSON),
    "another tenant in the preamble": Case(f"tenant_id: stranger\ndata: {ECHO}", 403, "other_tenant", TEXT),
    "another tenant in X-Tenant-ID": Case(GOOD, 403, "other_tenant", headers={"X-Tenant-ID": "stranger"}),
    "another tenant in X-Scope-OrgID": Case(GOOD, 403, "other_tenant", headers={"X-Scope-OrgID": "stranger"}),
    # 413
    "body too large": Case(ECHO * LIMIT, 413, "body_too_large", TEXT),
    "body one byte too large": Case("x" * (LIMIT + 1), 413, "body_too_large", TEXT),
    "record too large": Case({"text": ECHO.ljust(1001)}, 413, "record_too_large"),
    "record too large in bytes": Case({"text": "ü" * 501}, 413, "record_too_large"),
    "attributes too large": Case({**GOOD, "attributes": {"a": "x" * 1000}}, 413, "record_too_large"),
    "gzip of something huge": Case(gzip.compress(bytes(50_000_000), 9)[:LIMIT], 413, "body_too_large", TEXT, GZIP),
    "deflate of something huge": Case(zlib.compress(bytes(10_000_000), 9), 413, "body_too_large", TEXT, DEFLATE),
    "gzip of one byte too many": Case(gzip.compress(bytes(LIMIT + 1)), 413, "body_too_large", TEXT, GZIP),
    # 415
    "no type": Case(GOOD, 415, "unsupported_type", None),
    "form": Case("text=x", 415, "unsupported_type", "application/x-www-form-urlencoded"),
    "xml": Case(ECHO, 415, "unsupported_type", "application/xml"),
    "nonsense type": Case(ECHO, 415, "unsupported_type", ECHO),
    "another charset": Case(ECHO, 415, "unsupported_type", "text/plain; charset=latin-1"),
    "another encoding": Case(ECHO, 415, "unsupported_encoding", TEXT, {"Content-Encoding": "br"}),
    "two encodings": Case(ECHO, 415, "unsupported_encoding", TEXT, {"Content-Encoding": "gzip, gzip"}),
}  # fmt: skip


@pytest.fixture(scope="module")
async def limited(sluice: Sluice) -> AsyncIterator[Account]:
    """Everything sent as this tenant, or against it, in this module is refused; so in the end it has nothing."""
    await sluice.tenant("stranger", exactly=True)
    tenant = await sluice.tenant("limited", limits={"maxRecordBytes": 1000, "maxBatchBytes": LIMIT})
    yield tenant
    for one in (tenant, "stranger"):
        assert await sluice.documents(one) == []
        assert await sluice.dead_letters(one) == []


@pytest.mark.parametrize("name", CASES)
async def test_a_bad_request_gets_its_status_and_leaves_nothing(sluice: Sluice, limited: Account, name: str) -> None:
    case = CASES[name]
    async with sluice.nothing_published():
        answer = await sluice.send(limited, case.content, case.kind, headers=case.headers, query=case.query)
        check_problem(answer, case.status, case.code)


async def test_what_is_just_within_the_limits_is_taken(sluice: Sluice) -> None:
    tenant = await sluice.tenant("within", limits={"maxRecordBytes": 1000, "maxBatchBytes": LIMIT})
    record = line().ljust(1000)
    body = "\n".join([record] * 19).ljust(LIMIT, "\n")
    answer = await sluice.send(tenant, body, TEXT, query={"split": "lines"})
    assert (answer.status_code, len(body)) == (202, LIMIT)
    assert len(await sluice.documents(tenant)) == 19


# -- 401 -------------------------------------------------------------------------------------------------------------

BAD_CREDENTIALS = {
    "none": (None, "key_missing"),
    "empty": ("", "key_missing"),
    "an unknown scheme": (f"Digest {ECHO}", "key_missing"),
    "a scheme alone": ("Bearer", "key_invalid"),
    "no key": (f"Bearer {ECHO}", "key_invalid"),
    "no text at all": ("Bearer Grüße", "key_invalid"),
    "basic without a key": (f"Basic {b64encode(f'user:{ECHO}'.encode()).decode()}", "key_invalid"),
    "basic without a colon": (f"Basic {b64encode(ECHO.encode()).decode()}", "key_invalid"),
    "basic that is no base64": (f"Basic {ECHO}!", "key_invalid"),
    "a key nobody issued": (f"Bearer {generate_key()}", "key_invalid"),
    "a key nobody issued as password": (f"Basic {b64encode(f':{generate_key()}'.encode()).decode()}", "key_invalid"),
}


@pytest.mark.parametrize("name", BAD_CREDENTIALS)
async def test_who_has_no_valid_key_is_refused(sluice: Sluice, name: str) -> None:
    authorization, code = BAD_CREDENTIALS[name]
    headers = {} if authorization is None else {"Authorization": authorization}
    async with sluice.nothing_published():
        answer = await sluice.send(None, GOOD, headers=headers)
        check_problem(answer, 401, code)
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert authorization is None or len(authorization) < 20 or authorization[8:] not in answer.text


async def test_a_key_with_one_letter_changed_is_refused(sluice: Sluice, tenant: Account) -> None:
    for position in (5, 20, -1):
        letters = list(tenant.key)
        letters[position] = "a" if letters[position] != "a" else "b"
        async with sluice.nothing_published():
            check_problem(await sluice.send("".join(letters), GOOD), 401, "key_invalid")


async def test_a_revoked_key_is_refused_and_the_other_works_on(sluice: Sluice) -> None:
    tenant = await sluice.tenant("revoked", keys=[{"name": "old"}, {"name": "new"}])
    old, new = tenant.secret.keys["old"], tenant.secret.keys["new"]
    assert (await sluice.send(old, {"text": line()})).status_code == 202
    await sluice.idle()
    await sluice.stack.rights.provisioner.set_keys(tenant.id, ["new"])

    async def refused() -> bool:
        return (await sluice.send(old, {"log_id": "probe", "text": line()})).status_code == 401

    await eventually(refused, within=2)
    async with sluice.nothing_published():
        check_problem(await sluice.send(old, GOOD), 401, "key_invalid")
    assert (await sluice.send(new, {"text": line()})).status_code == 202


async def test_who_has_no_key_learns_nothing_about_tenants(sluice: Sluice, tenant: Account) -> None:
    """Nor is a body read, or a header judged, before somebody says who he is."""
    unknown = generate_key()
    known = await sluice.send(unknown, {**GOOD, "tenant_id": tenant.id}, headers={"X-Tenant-ID": tenant.id})
    absent = await sluice.send(unknown, {**GOOD, "tenant_id": "nobody"}, headers={"X-Tenant-ID": "nobody"})
    same = [{**answer.json(), "request_id": ""} for answer in (known, absent)]
    assert same[0] == same[1]
    assert same[0]["code"] == "key_invalid"


# -- 403 -------------------------------------------------------------------------------------------------------------


async def test_a_suspended_tenant_is_refused_until_it_is_active_again(sluice: Sluice) -> None:
    tenant = await sluice.tenant("suspended", exactly=True, suspension="Reject")
    async with sluice.nothing_published():
        check_problem(await sluice.send(tenant, GOOD), 403, "suspended")
    await sluice.tenant("suspended", exactly=True)

    async def taken() -> bool:
        return (await sluice.send(tenant, {"log_id": "x", "text": line()})).status_code == 202

    await eventually(taken, within=2)
    assert len(await sluice.documents(tenant)) == 1


async def test_another_tenant_cannot_be_named_beside_ones_own(sluice: Sluice, limited: Account) -> None:
    """Nor can a header that stands twice hide one of its values."""
    body = json.dumps(GOOD)
    for first, second in ((limited.id, "stranger"), ("stranger", limited.id)):
        head = (
            f"POST /ingest HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {limited.key}\r\n"
            f"X-Tenant-ID: {first}\r\nX-Tenant-ID: {second}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        )
        async with sluice.nothing_published():
            [answer] = await exchange(sluice.url, head.encode())
        assert answer.status in {400, 403}
        assert answer.json()["code"] in {"invalid_header", "other_tenant"}


# -- 404, 405 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["/", "/ingest/more", "/v2/ingest", pytest.param(f"/{ECHO}", id="echo"), "/ingest%2F..%2Fhealth"],
)
async def test_there_is_nothing_at_other_paths(sluice: Sluice, limited: Account, path: str) -> None:
    async with sluice.nothing_published():
        check_problem(await sluice.send(limited, GOOD, path=path), 404, "not_found")


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", ["/ingest", "/v1/ingest"])
async def test_records_are_posted_and_nothing_else(sluice: Sluice, limited: Account, method: str, path: str) -> None:
    headers = {"Authorization": f"Bearer {limited.key}", "Content-Type": JSON}
    async with sluice.nothing_published():
        answer = await sluice.http.request(method, sluice.url + path, json=GOOD, headers=headers)
        check_problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("path", ["/health", "/readiness", "/metrics"])
async def test_what_is_read_cannot_be_posted_to(sluice: Sluice, limited: Account, path: str) -> None:
    answer = await sluice.send(limited, GOOD, path=path)
    check_problem(answer, 405, "method_not_allowed")
    assert "GET" in answer.headers["allow"]
    assert "POST" not in answer.headers["allow"]


# -- 413 -------------------------------------------------------------------------------------------------------------


async def test_a_body_announced_too_large_is_refused_unread(sluice: Sluice, limited: Account) -> None:
    head = (
        f"POST /ingest HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {limited.key}\r\nContent-Type: text/plain\r\n"
        "Expect: 100-continue\r\nContent-Length: 100000000000\r\n\r\n"
    )
    [answer] = await exchange(sluice.url, head.encode())
    assert (answer.status, answer.json()["code"]) == (413, "body_too_large")
    assert answer.headers["connection"] == "close"


async def test_a_chunked_body_is_refused_as_soon_as_it_is_too_large(sluice: Sluice, limited: Account) -> None:
    head = (
        f"POST /ingest HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {limited.key}\r\nContent-Type: text/plain\r\n"
        "Transfer-Encoding: chunked\r\n\r\n"
    )
    chunk = b"400\r\n" + b"x" * 1024 + b"\r\n"
    async with sluice.nothing_published():
        # Without an end: the answer comes while the sender still sends.
        [answer] = await exchange(sluice.url, head.encode() + chunk * 30)
    assert (answer.status, answer.json()["code"]) == (413, "body_too_large")


@pytest.mark.parametrize("chunked", [False, True])
async def test_whoever_sends_on_regardless_still_reads_the_refusal(
    sluice: Sluice, limited: Account, *, chunked: bool
) -> None:
    """A connection reset while the answer is on its way would look like a fault worth retrying."""
    body = b"x" * 3_000_000

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 65536):
            yield body[start : start + 65536]
            await asyncio.sleep(0)

    for key, status in ((limited.key, 413), (generate_key(), 401)):
        answers = [await sluice.send(key, pieces() if chunked else body, TEXT) for _ in range(5)]
        assert [answer.status_code for answer in answers] == [status] * 5


# -- HTTP itself -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "framing",
    [
        "Content-Length: {n}\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: {n}\r\n",
        "Content-Length: {n}\r\nContent-Length: 3\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: +{n}\r\n",
        "Content-Length: {n}x\r\n",
        "Content-Length : {n}\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
    ],
)
async def test_a_body_whose_end_is_ambiguous_is_not_taken(sluice: Sluice, limited: Account, framing: str) -> None:
    """Request smuggling: two programs that disagree about where a request ends."""
    body = f'0\r\n\r\n{{"text":"{ECHO}"}}'
    head = (
        f"POST /ingest HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {limited.key}\r\n"
        f"Content-Type: application/json\r\n{framing.format(n=len(body))}\r\n{body}"
    )
    async with sluice.nothing_published():
        answers = await exchange(sluice.url, head.encode(), within=5)
    assert [answer.status for answer in answers] in ([400], [])
