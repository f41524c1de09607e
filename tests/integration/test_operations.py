"""What operators and tools ask of the parts: health, readiness, metrics, and the description of the interface."""

import pytest

from sluice_core import reasons
from support.sluice import TEXT, Account, Sluice, line


@pytest.fixture(scope="module", params=["ingest", "worker-standard"])
def part(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_each_part_says_that_it_lives_and_is_ready(sluice: Sluice, part: str) -> None:
    base = sluice.stack.endpoints.metrics[part].removesuffix("/metrics")
    for path, status in (("/health", "alive"), ("/readiness", "ready")):
        answer = await sluice.http.get(base + path)
        assert (answer.status_code, answer.json()) == (200, {"status": status})


async def test_each_part_counts_in_prometheus_words(sluice: Sluice, part: str) -> None:
    answer = await sluice.http.get(sluice.stack.endpoints.metrics[part])
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert "# TYPE sluice_" in answer.text


async def test_what_was_accepted_is_what_was_stored(sluice: Sluice, tenant: Account) -> None:
    for _ in range(3):
        await sluice.send(tenant, [{"text": line()}, {"text": line()}, {"text": ""}])
    await sluice.idle()
    assert await sluice.metric("ingest", "sluice_ingest_accepted_records_total", tenant=tenant.id) == 6
    rejected = await sluice.metric("ingest", "sluice_ingest_rejected_records_total", tenant=tenant.id)
    assert rejected == 3
    assert await sluice.settled(tenant, "stored") == 6


async def test_requests_are_counted_by_their_outcome(sluice: Sluice, tenant: Account) -> None:
    async def count(outcome: str) -> float:
        return await sluice.metric("ingest", "sluice_ingest_requests_total", outcome=outcome)

    before = {outcome: await count(outcome) for outcome in ("accepted", "key_missing", "unsupported_type")}
    await sluice.send(tenant, line(), TEXT)
    await sluice.send(None, line(), TEXT)
    await sluice.send(tenant, line(), "image/png")
    assert {outcome: await count(outcome) - number for outcome, number in before.items()} == dict.fromkeys(before, 1)


async def test_redactions_are_counted_by_detector(sluice: Sluice, tenant: Account) -> None:
    await sluice.send(tenant, "from 192.168.1.1 and 10.0.0.1 by someone@example.org", TEXT)
    await sluice.idle()
    name = "sluice_worker_redactions_total"
    assert await sluice.metric("worker-standard", name, tenant=tenant.id, detector="ipv4") == 2
    assert await sluice.metric("worker-standard", name, tenant=tenant.id, detector="email") == 1


async def test_the_description_can_be_read_by_people_and_programs(sluice: Sluice) -> None:
    page = await sluice.http.get(sluice.url + "/docs")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    answer = await sluice.http.get(sluice.url + "/docs/openapi.json")
    assert answer.status_code == 200
    paths = answer.json()["paths"]
    assert {"/ingest", "/v1/ingest", "/health", "/readiness", "/metrics"} <= paths.keys()


@pytest.mark.parametrize("path", ["/ingest", "/v1/ingest"])
async def test_the_description_names_every_answer_of_the_intake(sluice: Sluice, path: str) -> None:
    post = (await sluice.http.get(sluice.url + "/docs/openapi.json")).json()["paths"][path]["post"]
    responses = post["responses"]
    assert set(responses) == {"202", "400", "401", "403", "405", "408", "410", "413", "415", "429", "431", "500", "503"}
    for reason in reasons.ALL.values():
        if reason.status not in {0, 404}:
            assert f"`{reason.code}`" in responses[str(reason.status)]["description"]
    refusals = [response["content"] for status, response in responses.items() if status != "202"]
    assert all(content.keys() == {"application/problem+json"} for content in refusals)
    assert set(post["requestBody"]["content"]) == {"application/json", "application/x-ndjson", "text/plain"}
    assert {"Idempotency-Key", "X-Log-ID", "X-Tenant-ID", "traceparent", "split", "return"} <= {
        parameter["name"] for parameter in post["parameters"]
    }
    assert post["security"]
