"""The broker is away, silent or full: a 503 in time that invites a retry, and recovery without anybody's help."""

import asyncio
from typing import Any

import httpx
import msgspec
import pytest

from sluice_core.keys import generate_key
from sluice_core.names import lane_stream
from support.faults import all_ready
from support.ledger import Ledger
from support.outages import IN_TIME, SILENT, check_unavailable, silent_broker, timed
from support.redelivery import hastened_redelivery
from support.sluice import NDJSON, TEXT, Account, Sluice, line
from support.waiting import eventually


class Outage(msgspec.Struct):
    """What was sent while the broker was silent for some seconds, and how it was answered."""

    ledger: Ledger
    small: list[dict[str, Any]] = []
    """More requests at once than commits may be in flight, so some have to wait for the others' time to pass."""
    large: list[list[dict[str, Any]]] = []
    """More bytes than the broker's client buffers."""
    answers: list[tuple[httpx.Response, float]] = []
    large_answers: list[tuple[httpx.Response, float]] = []
    unknown_key: tuple[httpx.Response, float] | None = None
    misspelt_key: httpx.Response | None = None
    probes: list[int] = []
    pid: int = 0


@pytest.fixture(scope="module")
async def outage(sluice: Sluice) -> Outage:
    """One outage for several tests: waiting it out takes its time."""
    ledger = Ledger(sluice)
    found = Outage(ledger, pid=sluice.stack.ingest.process.pid)
    tenant, other, big = [await sluice.tenant(name, exactly=True) for name in ("outage-a", "outage-b", "outage-c")]
    found.small = [{"log_id": f"r{number}", "text": line()} for number in range(40)]
    text = "x" * 50_000
    found.large = [[{"log_id": f"{batch}-{number}", "text": line(text)} for number in range(100)] for batch in "abc"]

    async def send(who: Account, records: list[dict[str, Any]]) -> tuple[httpx.Response, float]:
        (answer, _), seconds = await timed(ledger.send(who, records))
        return answer, seconds

    async with silent_broker(sluice):
        small = [asyncio.create_task(send(who, [record])) for record in found.small for who in (tenant, other)]
        unknown = asyncio.create_task(timed(sluice.send(generate_key(), {"text": line()})))
        found.misspelt_key = await sluice.send("slk_nonsense", {"text": line()})
        found.probes = [(await sluice.http.get(sluice.url + path)).status_code for path in ("/health", "/readiness")]
        found.answers = list(await asyncio.gather(*small))
        found.unknown_key = await unknown
    async with silent_broker(sluice):
        found.large_answers = list(await asyncio.gather(*(send(big, batch) for batch in found.large)))
    for who, records in ((tenant, found.small), (other, found.small), *((big, batch) for batch in found.large)):

        async def taken(who: Account = who, records: list[dict[str, Any]] = records) -> bool:
            answer, _ = await ledger.send(who, records)
            return answer.status_code == 202

        await eventually(taken, within=20)
    return found


async def test_a_silent_broker_is_answered_for_in_time(outage: Outage) -> None:
    for answer, seconds in outage.answers:
        check_unavailable(answer, *SILENT)
        assert seconds < IN_TIME
    assert len(outage.answers) == 80


async def test_megabytes_for_a_silent_broker_are_answered_for_in_time(outage: Outage) -> None:
    for answer, seconds in outage.large_answers:
        check_unavailable(answer, *SILENT)
        assert seconds < IN_TIME
    assert len(outage.large_answers) == 3


async def test_a_key_that_cannot_be_looked_up_is_not_called_unknown(outage: Outage) -> None:
    """It may have been issued a moment ago: a 401 would make its shipper drop what it holds."""
    assert outage.unknown_key is not None
    assert outage.misspelt_key is not None
    answer, seconds = outage.unknown_key
    assert (answer.status_code, answer.json()["retryable"]) == (503, True)
    assert "retry-after" in answer.headers
    assert seconds < IN_TIME
    assert outage.misspelt_key.status_code == 401


async def test_a_silent_broker_does_not_make_ingest_unhealthy(outage: Outage) -> None:
    assert outage.probes == [200, 200]


async def test_when_the_broker_speaks_again_retries_complete_what_was_sent(sluice: Sluice, outage: Outage) -> None:
    """Without a restart, and whatever of the first attempts is in already."""
    assert sluice.stack.ingest.process.pid == outage.pid
    await outage.ledger.check()
    numbers = [await sluice.logs(f"outage-{name}").count_documents({}) for name in "abc"]
    assert numbers == [40, 40, 300]


async def test_a_broker_that_dies_is_back_in_use_by_itself(sluice: Sluice, ledger: Ledger, tenant: Account) -> None:
    await ledger.send_lines(tenant, 3)
    pid = sluice.stack.ingest.process.pid
    await sluice.stack.servers.nats.kill()
    answer, _ = await ledger.send(tenant, [{"log_id": "during", "text": (text := line())}])
    assert answer.status_code in {202, 503}

    async def taken() -> bool:
        response, _ = await ledger.send(tenant, [{"log_id": "during", "text": text}])
        return response.status_code == 202

    await eventually(taken, within=20)
    async with hastened_redelivery(sluice):
        await ledger.check()
    assert sluice.stack.ingest.process.pid == pid


async def test_a_broker_that_dies_among_many_requests_leaves_none_of_them_without_an_answer(
    sluice: Sluice, ledger: Ledger, tenant: Account, other: Account
) -> None:
    shipments = [
        (who, [{"log_id": f"r{number}-{index}", "text": line("x" * 1_000)} for index in range(20)])
        for number in range(25)
        for who in (tenant, other)
    ]
    requests = [asyncio.create_task(timed(ledger.send(who, records))) for who, records in shipments]
    _, pending = await asyncio.wait(requests, return_when=asyncio.FIRST_COMPLETED)
    assert pending, "all were answered before the broker could be killed"
    await sluice.stack.servers.nats.kill()
    for (answer, _), seconds in await asyncio.gather(*requests):
        assert answer.status_code in {202, 503}
        assert seconds < IN_TIME
    await all_ready(sluice)
    for who, records in shipments:

        async def taken(who: Account = who, records: list[dict[str, Any]] = records) -> bool:
            answer, _ = await ledger.send(who, records)
            return answer.status_code == 202

        await eventually(taken, within=20)
    async with hastened_redelivery(sluice):
        await ledger.check()
    assert len(await sluice.documents(tenant)) == len(await sluice.documents(other)) == 500


async def test_a_full_stream_refuses_and_takes_again_when_there_is_room(sluice: Sluice, ledger: Ledger) -> None:
    tenant = await sluice.tenant("idle-full", exactly=True, lane="Dedicated")
    neighbour = await sluice.tenant("neighbour")
    stream = lane_stream(tenant.lane)
    async with sluice.stack.keeper.still():
        config = (await sluice.broker.api(f"STREAM.INFO.{stream}"))["config"]
        await sluice.broker.api(f"STREAM.UPDATE.{stream}", {**config, "max_bytes": 50_000})
        accepted = 0
        while True:
            answer, _ = await ledger.send(tenant, [{"text": line("x" * 10_000)}])
            if answer.status_code != 202:
                break
            accepted += 1
        check_unavailable(answer, "broker_full")
        assert 3 <= accepted <= 4
        # Nobody else notices, and one that still fits is taken.
        assert (await sluice.send(neighbour, line(), TEXT)).status_code == 202
        await ledger.send_lines(tenant, 1)
        # A batch of several envelopes of which none fits.
        many = "\n".join(msgspec.json.encode({"text": line("y" * 20_000)}).decode() for _ in range(50))
        before = await sluice.published(tenant.lane)
        check_unavailable(await sluice.send(tenant, many, NDJSON), "broker_full")
        assert await sluice.published(tenant.lane) == before
        # A worker makes room.
        await sluice.stack.start_worker(tenant.lane)
        await sluice.idle(tenant.lane)
        assert (await ledger.send(tenant, [{"text": line("x" * 10_000)}]))[0].status_code == 202
        await ledger.check()


async def test_without_its_stream_a_lane_takes_nothing_until_it_is_back(sluice: Sluice) -> None:
    tenant = await sluice.tenant("streamless", lane="Dedicated")
    async with sluice.stack.keeper.still():
        await sluice.broker.api(f"STREAM.DELETE.{lane_stream(tenant.lane)}")
        answer, seconds = await timed(sluice.send(tenant, line(), TEXT))
    check_unavailable(answer, "broker_unavailable")
    assert seconds < IN_TIME
    await sluice.tenant(tenant.id, exactly=True, lane="Dedicated")
    assert (await sluice.send(tenant, line(), TEXT)).status_code == 202
    assert len(await sluice.documents(tenant)) == 1
