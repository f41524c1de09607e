"""The application as a client meets it: statuses, problem bodies, and nothing published for what was refused."""

import gzip
import re
from collections.abc import MutableMapping
from typing import Any

import httpx
import msgspec
import pytest
from litestar import Litestar

from sluice_core.envelope import Record, decode_envelope
from sluice_core.errors import BrokerFull, BrokerUnavailable, Refusal
from sluice_core.keys import compose_key, key_digest
from sluice_core.limits import MIB, Limits
from sluice_core.reasons import ALL, PROVISIONING_FAILED
from sluice_core.tenant import KeyConfig
from sluice_ingest.app import create_app
from sluice_ingest.body import BodyReader
from sluice_ingest.budget import Budget
from sluice_ingest.commit import GroupCommit
from sluice_ingest.inflate import Inflater
from sluice_ingest.intake import Intake
from sluice_ingest.quotas import Quotas
from unit.fakes import FakeView, config

_KEY = compose_key("0123456789ab", "A" * 32)
_OTHER_KEY = compose_key("0123456789ab", "B" * 32)
_LIMITS = Limits(max_record_bytes=1000, max_batch_bytes=5000)
_JSON = {"authorization": f"Bearer {_KEY}", "content-type": "application/json"}


class _Publisher:
    """Takes everything, unless it was told to fail."""

    def __init__(self) -> None:
        self.payloads: list[tuple[str, bytes]] = []
        self.error: Exception | None = None

    async def publish(
        self, subject: str, payload: bytes, *, stream: str, timeout: float, headers: dict[str, str] | None = None
    ) -> int:
        if self.error is not None:
            raise self.error
        self.payloads.append((subject, payload))
        return len(self.payloads)

    def stored(self) -> list[tuple[str, str, Record]]:
        return [
            (submission.tenant_id, submission.log_id(position), record)
            for _, payload in self.payloads
            for submission in decode_envelope(payload).submissions
            for position, record in enumerate(submission.records)
        ]


class _Service:
    def __init__(self, *, auth: bool = True) -> None:
        self.publisher = _Publisher()
        self.view = FakeView(config(keys=(KeyConfig("default", key_digest(_KEY)),), limits=_LIMITS), config("beta"))
        commits = GroupCommit(self.publisher, in_flight=4, publish_timeout=1)
        self.provisioned: list[str] = []
        provision: Any = None if auth else self._provision
        self.budget = Budget(MIB, MIB)
        self.intake = Intake(
            self.view,
            commits,
            provision,
            budget=self.budget,
            bodies=BodyReader(30),
            inflater=Inflater(),
            quotas=Quotas(self.view.tenant),
            request_timeout=3,
        )
        self.app: Litestar = create_app(self.intake, self.view)

    async def _provision(self, tenant_id: str) -> None:
        if tenant_id == "cannot":
            raise Refusal(PROVISIONING_FAILED)
        self.provisioned.append(tenant_id)
        self.view.set(config(tenant_id))

    async def ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        transport = httpx.ASGITransport(app=self.app)  # type: ignore[arg-type]  # Litestar's own names for ASGI's types
        async with httpx.AsyncClient(transport=transport, base_url="http://ingest") as client:
            return await client.request(method, path, **request)

    async def post(self, body: bytes | object, path: str = "/ingest", **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        sent = {**_JSON, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return await self.ask("POST", path, content=content, headers={n: v for n, v in sent.items() if v})


@pytest.fixture
def service() -> _Service:
    return _Service()


def _problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    body: dict[str, Any] = response.json()
    assert (response.status_code, body["code"]) == (status, code)
    assert response.headers["content-type"] == "application/problem+json"
    assert body["status"] == status
    assert body["title"] == ALL[code].sentence
    assert body["retryable"] == ALL[code].retryable
    assert body["request_id"] == response.headers["x-request-id"]
    return body


# -- the routes around the intake ------------------------------------------------------------------------------------
async def test_it_is_alive_whatever_else(service: _Service) -> None:
    service.view.complete = False
    service.intake.draining = True
    response = await service.ask("GET", "/health")
    assert (response.status_code, response.json()) == (200, {"status": "alive"})


async def test_it_is_ready_once_the_tenants_are_known_and_until_it_stops(service: _Service) -> None:
    service.view.complete = False
    response = await service.ask("GET", "/readiness")
    assert (response.status_code, response.json()) == (503, {"status": "not_ready"})
    service.view.complete = True
    response = await service.ask("GET", "/readiness")
    assert (response.status_code, response.json()) == (200, {"status": "ready"})
    service.intake.draining = True
    response = await service.ask("GET", "/readiness")
    assert (response.status_code, response.json()) == (503, {"status": "draining"})


async def test_it_shows_its_metrics(service: _Service) -> None:
    await service.post({"text": "hunter2"})
    response = await service.ask("GET", "/metrics")
    assert response.status_code == 200
    assert 'sluice_ingest_accepted_records_total{tenant="acme"}' in response.text
    assert "hunter2" not in response.text


@pytest.mark.parametrize("path", ["/", "/nothing", "/ingest/x", "/v2/ingest", "/%00"])
async def test_what_is_not_there_is_a_problem_of_404(service: _Service, path: str) -> None:
    _problem(await service.ask("GET", path), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/ingest"), ("PUT", "/v1/ingest"), ("DELETE", "/ingest"), ("POST", "/health"), ("PUT", "/metrics")],
)
async def test_another_method_is_a_problem_of_405(service: _Service, method: str, path: str) -> None:
    _problem(await service.ask(method, path), 405, "method_not_allowed")


async def test_the_description_names_every_reason_it_answers_with(service: _Service) -> None:
    description = (await service.ask("GET", "/docs/openapi.json")).json()
    for path in ("/ingest", "/v1/ingest"):
        operation = description["paths"][path]["post"]
        assert operation["responses"]["202"]["description"]
        for reason in ALL.values():
            if reason.status and reason.code != "not_found":
                assert f"`{reason.code}`" in operation["responses"][str(reason.status)]["description"]
        kinds = operation["requestBody"]["content"]
        assert set(kinds) == {"application/json", "application/x-ndjson", "text/plain"}
    assert {"/health", "/readiness", "/metrics"} <= description["paths"].keys()


@pytest.mark.parametrize("path", ["/docs", "/docs/"])
async def test_the_page_of_documentation_names_everything_and_loads_nothing(service: _Service, path: str) -> None:
    response = await service.ask("GET", path)
    assert response.status_code == 200
    assert "text/html" in response.headers["content-type"]
    for reason in ALL.values():
        if reason.status and reason.code != "not_found":
            assert f"<code>{reason.code}</code>" in response.text
    for what in ("POST /ingest", "GET /metrics", "Idempotency-Key", "split", "application/x-ndjson", "attributes"):
        assert what in response.text
    assert 'href="/docs/openapi.json"' in response.text
    assert not re.search(r"<script|<link|<img|@import|url\(|://", response.text)


# -- what is taken ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("path", ["/ingest", "/v1/ingest"])
async def test_one_record_is_taken(service: _Service, path: str) -> None:
    response = await service.post({"text": "hello"}, path)
    body = response.json()
    assert response.status_code == 202
    assert body["status"] == "accepted"
    assert (body["tenant_id"], body["accepted"]) == ("acme", 1)
    assert service.publisher.stored() == [("acme", body["log_id"], Record(None, "hello"))]
    assert service.publisher.payloads[0][0] == "logs.standard"
    assert body["request_id"] == response.headers["x-request-id"]


async def test_the_request_id_is_taken_over_or_made(service: _Service) -> None:
    taken = await service.post({"text": "a"}, x_request_id="r-1")
    made = await service.post({"text": "a"}, x_request_id="not an id")
    assert taken.headers["x-request-id"] == taken.json()["request_id"] == "r-1"
    assert made.json()["request_id"] == made.json()["message_id"]
    [first, second] = [decode_envelope(payload).submissions[0] for _, payload in service.publisher.payloads]
    assert (first.request_id, second.request_id) == ("r-1", made.json()["message_id"])


async def test_a_batch_says_its_ids_when_asked(service: _Service) -> None:
    body = [{"text": "a"}, {"text": "b", "log_id": "own"}, {"text": "c"}]
    plain = (await service.post(body)).json()
    assert plain["accepted"] == 3
    assert "log_ids" not in plain
    assert "log_id" not in plain
    service.publisher.payloads.clear()
    asked = (await service.post(body, "/ingest?return=ids")).json()
    assert asked["log_ids"] == [log_id for _, log_id, _ in service.publisher.stored()]
    assert asked["log_ids"][1] == "own"


async def test_a_batch_is_taken_without_its_bad_records(service: _Service) -> None:
    response = await service.post([{"text": "a"}, {}, {"text": 5}, {"text": "b", "tenant_id": "beta"}, {"text": "c"}])
    body = response.json()
    assert response.status_code == 202
    assert body["accepted"] == 2
    assert [(one["index"], one["code"]) for one in body["rejected"]] == [
        (1, "missing_field"),
        (2, "invalid_field"),
        (3, "other_tenant"),
    ]
    assert [record.text for _, _, record in service.publisher.stored()] == ["a", "c"]


async def test_a_batch_of_bad_records_only_has_the_status_of_the_first(service: _Service) -> None:
    body = _problem(await service.post([{"text": "x" * 1001}, {}]), 413, "record_too_large")
    assert [one["code"] for one in body["rejected"]] == ["record_too_large", "missing_field"]
    assert service.publisher.payloads == []


async def test_text_lines_and_compressed_bodies_are_taken(service: _Service) -> None:
    await service.post(b"one\ntwo\n", "/ingest?split=lines", content_type="text/plain")
    await service.post(b"whole\nbody", content_type="text/plain")
    await service.post(
        gzip.compress(b'{"text":"n1"}\n{"text":"n2"}'), content_type="application/x-ndjson", content_encoding="gzip"
    )
    assert [record.text for _, _, record in service.publisher.stored()] == ["one", "two", "whole\nbody", "n1", "n2"]


async def test_a_retry_with_its_idempotency_key_gets_the_same_id(service: _Service) -> None:
    first, again, other = [
        (await service.post({"text": "a"}, idempotency_key=key)).json()["log_id"] for key in ("k", "k", "l")
    ]
    assert first == again != other


async def test_headers_name_the_record(service: _Service) -> None:
    response = await service.post(b"data: x", content_type="text/plain", x_log_id="7", x_tenant_id="acme")
    assert response.json()["log_id"] == "7"
    assert service.publisher.stored() == [("acme", "7", Record("7", "data: x"))]


async def test_x_log_id_and_idempotency_key_go_together(service: _Service) -> None:
    response = await service.post({"text": "a"}, x_log_id="7", idempotency_key="k")
    assert (response.status_code, response.json().get("log_id")) == (202, "7")


# -- what is refused, with nothing published -------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"{", {}, 400, "malformed_json"),
        (b'{"level":"x","text":', {}, 400, "malformed_json"),
        (b"{}", {}, 400, "missing_field"),
        (b"[]", {}, 400, "empty_body"),
        (b"", {}, 400, "empty_body"),
        (b'{"text":5}', {}, 400, "invalid_field"),
        (b'{"text":"\xff"}', {}, 400, "invalid_text"),
        (b'{"text":"a"}', {"x_tenant_id": "A"}, 400, "invalid_header"),
        (b'{"text":"a"}', {"content_encoding": "gzip"}, 400, "corrupt_encoding"),
        (b'[{"text":"a"},{"text":"b"}]', {"x_log_id": "7"}, 400, "invalid_field"),
        (b'{"text":"a"}', {"authorization": ""}, 401, "key_missing"),
        (b'{"text":"a"}', {"authorization": "Bearer x"}, 401, "key_invalid"),
        (b'{"text":"a"}', {"authorization": f"Bearer {_OTHER_KEY}"}, 401, "key_invalid"),
        (b'{"text":"a"}', {"x_tenant_id": "beta"}, 403, "other_tenant"),
        (b'{"text":"a"}', {"x_scope_orgid": "beta"}, 403, "other_tenant"),
        (b'{"text":"a","tenant_id":"beta"}', {}, 403, "other_tenant"),
        (b"tenant_id: beta\ndata: a", {"content_type": "text/plain"}, 403, "other_tenant"),
        (b'{"text":"%b"}' % (b"x" * 5000), {}, 413, "body_too_large"),
        (b'{"text":"%b"}' % (b"x" * 1001), {}, 413, "record_too_large"),
        (gzip.compress(b"x" * 5001, mtime=0), {"content_encoding": "gzip"}, 413, "body_too_large"),
        (b'{"text":"a"}', {"content_type": "text/html"}, 415, "unsupported_type"),
        (b'{"text":"a"}', {"content_type": ""}, 415, "unsupported_type"),
        (b'{"text":"a"}', {"content_encoding": "br"}, 415, "unsupported_encoding"),
    ],
)
async def test_bad_input_has_its_status_and_publishes_nothing(
    service: _Service, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    _problem(await service.post(body, **headers), status, code)
    assert service.publisher.payloads == []


@pytest.mark.parametrize(
    ("error", "code"), [(BrokerFull("full"), "broker_full"), (BrokerUnavailable("away"), "broker_unavailable")]
)
async def test_without_an_acknowledgement_there_is_no_202(service: _Service, error: Exception, code: str) -> None:
    service.publisher.error = error
    response = await service.post({"text": "a"})
    _problem(response, 503, code)
    assert 1 <= int(response.headers["retry-after"]) <= 5


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [({"state": "gone"}, 403, "tenant_gone"), ({"suspension": "Reject"}, 403, "suspended")],
)
async def test_a_tenant_that_may_not_send_is_refused(
    service: _Service, change: dict[str, Any], status: int, code: str
) -> None:
    service.view.set(config(keys=(KeyConfig("default", key_digest(_KEY)),), revision=2, **change))
    _problem(await service.post({"text": "a"}), status, code)
    assert service.publisher.payloads == []


async def test_while_it_stops_it_sends_requests_elsewhere(service: _Service) -> None:
    service.intake.draining = True
    _problem(await service.post({"text": "a"}), 503, "draining")


async def test_a_body_nobody_may_send_is_answered_before_it_is_read(service: _Service) -> None:
    events: list[str] = []

    async def receive() -> dict[str, Any]:
        events.append("read")
        return {"type": "http.request", "body": b"x" * 1000, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        events.append(str(message.get("status", "sent")))
        if "headers" in message:
            assert (b"connection", b"close") in message["headers"]

    scope = {"method": "POST", "headers": [(b"authorization", b"Bearer x")], "query_string": b""}
    await service.intake(scope, receive, send)
    assert events[:2] == ["401", "sent"]
    assert events.count("401") == 1


async def test_a_bug_is_a_500_that_says_so_and_nothing_else(service: _Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(digest: str) -> None:
        raise RuntimeError("hunter2")

    monkeypatch.setattr(service.view, "holder", fail)
    response = await service.post({"text": "a"})
    _problem(response, 500, "internal")
    assert "hunter2" not in response.text
    assert "retry-after" not in response.headers


# -- without keys ----------------------------------------------------------------------------------------------------
async def test_without_keys_the_request_names_its_tenant() -> None:
    service = _Service(auth=False)
    for body, headers in (
        ({"text": "a", "tenant_id": "fresh"}, {}),
        ({"text": "b"}, {"x_tenant_id": "fresh"}),
        (b"tenant_id: fresh\nlog_id: 9\ndata: c", {"content_type": "text/plain"}),
    ):
        response = await service.post(body, authorization="", **headers)
        assert (response.status_code, response.json()["tenant_id"]) == (202, "fresh")
    assert service.provisioned == ["fresh"]
    assert [(tenant, record.text) for tenant, _, record in service.publisher.stored()] == [
        ("fresh", "a"),
        ("fresh", "b"),
        ("fresh", "c"),
    ]


async def test_without_keys_one_request_is_of_one_tenant() -> None:
    service = _Service(auth=False)
    response = await service.post([{"text": "a", "tenant_id": "one"}, {"text": "b", "tenant_id": "two"}])
    assert response.json()["rejected"][0]["code"] == "other_tenant"
    assert [tenant for tenant, _, _ in service.publisher.stored()] == ["one"]
    assert service.provisioned == ["one"]


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        ({"text": "a"}, {}, 400, "missing_field"),
        ({"text": "a", "tenant_id": "A"}, {}, 400, "invalid_field"),
        ({"text": "a", "tenant_id": "cannot"}, {}, 503, "provisioning_failed"),
        ({"text": "a"}, {"x_tenant_id": "one", "x_scope_orgid": "two"}, 403, "other_tenant"),
        ({"text": "a", "tenant_id": "two"}, {"x_tenant_id": "one"}, 403, "other_tenant"),
    ],
)
async def test_without_keys_a_request_that_names_no_one_tenant_is_refused(
    body: dict[str, str], headers: dict[str, str], status: int, code: str
) -> None:
    service = _Service(auth=False)
    _problem(await service.post(body, **headers), status, code)
    assert service.publisher.payloads == []
