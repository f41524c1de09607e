"""A tenant's limits hold over all replicas of ingest together, however its load is spread, and concern nobody else."""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import httpx
import msgspec
import pytest

from sluice_core.edge.lanes import DEAD_LETTERS_PER_SUBJECT
from sluice_core.edge.letters import purge_letters, write_letter
from sluice_core.envelope import Record, Submission
from sluice_core.letter import enclose, pick_out
from sluice_core.names import dead_letter_subject, parked_subject
from sluice_core.reasons import STORE_REFUSES
from sluice_core.version import Version
from support.sluice import NDJSON, Account, Sluice, line, running
from support.waiting import eventually

RATE = 100
BATCH = 10
OFFERED = 1000
"""Records a second."""
SECONDS = 12
IDLE_TENANT = "idle-limit"
IN_TIME = 20.0


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sluice]:
    """A stack of its own with two replicas of ingest."""
    async with running(tmp_path_factory.mktemp("quotas"), lanes_without_worker=[f"t-{IDLE_TENANT}"]) as sluice:
        await sluice.stack.start_ingest()
        yield sluice


def replicas(stack: Sluice) -> list[str]:
    return [stack.stack.ingest.url, *(part.url for part in stack.stack.more_ingest)]


async def metric(stack: Sluice, name: str, **labels: str) -> float:
    """Over all replicas."""
    return sum([await stack.metric(part, name, **labels) for part in ("ingest", "ingest-2")])


class Tally(msgspec.Struct):
    """What a sender saw."""

    answers: list[httpx.Response] = []
    offered: int = 0
    seconds: float = 0.0

    @property
    def accepted(self) -> int:
        return sum(answer.json()["accepted"] for answer in self.answers if answer.status_code == 202)

    @property
    def refused(self) -> list[httpx.Response]:
        return [answer for answer in self.answers if answer.status_code != 202]


def body(records: int, size: int = 0) -> str:
    return "\n".join(json.dumps({"text": line().ljust(size)}) for _ in range(records))


async def post(http: httpx.AsyncClient, url: str, tenant: Account, content: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {tenant.key}", "Content-Type": NDJSON}
    return await http.post(f"{url}/ingest", content=content, headers=headers)


async def flood(
    tenant: Account,
    urls: Sequence[str],
    *,
    per_second: int = OFFERED,
    batch: int = BATCH,
    size: int = 0,
    enough: Callable[[Tally], bool],
) -> Tally:
    """Send at a rate over one keep-alive connection to each url in turn, whatever is answered."""
    tally = Tally()
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1)
    clients = [httpx.AsyncClient(timeout=30, limits=limits) for _ in urls]
    try:
        began = time.monotonic()
        for url, http in itertools.cycle(zip(urls, clients, strict=True)):
            tally.answers.append(await post(http, url, tenant, body(batch, size)))
            tally.offered += batch
            tally.seconds = time.monotonic() - began
            if enough(tally):
                return tally
            await asyncio.sleep(max(0.0, tally.offered / per_second - tally.seconds))
    finally:
        for http in clients:
            await http.aclose()
    raise AssertionError


def over(seconds: float, rate: int) -> Callable[[Tally], bool]:
    """So long, and long enough for a slow machine to have offered far more than is allowed."""
    return lambda tally: tally.seconds >= seconds and tally.offered >= 4 * rate * (1 + tally.seconds)


async def sends_all_the_while(stack: Sluice, tenant: Account, stop: asyncio.Event) -> list[int]:
    """What a tenant within its limits is answered."""
    statuses: list[int] = []
    for url in itertools.cycle(replicas(stack)):
        statuses.append((await post(stack.http, url, tenant, body(2))).status_code)
        if stop.is_set():
            break
        await asyncio.sleep(0.02)
    return statuses


def check_refusals(tally: Tally, limit: str) -> None:
    assert tally.refused
    for answer in tally.refused:
        assert answer.status_code == 429, answer.text
        assert answer.json()["code"] == "rate_limited"
        assert limit in answer.json()["detail"]
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert answer.headers.get("connection") != "close", "a sender that comes again needs no new connection"


@pytest.mark.parametrize("spread", [False, True], ids=["all on one connection", "over both replicas"])
async def test_a_quota_holds_over_all_replicas_together(stack: Sluice, spread: bool) -> None:
    tenant = await stack.tenant("quota", limits={"recordsPerSecond": RATE, "burstSeconds": 1})
    other = await stack.tenant("other")
    urls = replicas(stack)
    stop = asyncio.Event()
    bystander = asyncio.create_task(sends_all_the_while(stack, other, stop))
    await first_seen(stack, tenant)
    try:
        tally = await flood(tenant, urls if spread else urls[:1], enough=over(SECONDS, RATE))
    finally:
        stop.set()
        statuses = await bystander
    allowed = RATE * (1 + tally.seconds)
    assert tally.accepted == pytest.approx(allowed, rel=0.1)
    check_refusals(tally, f"{RATE} records")
    assert set(statuses) == {202}, "another tenant noticed"
    assert await stack.logs(tenant).count_documents({}) <= tally.accepted


async def first_seen(stack: Sluice, tenant: Account) -> None:
    """Wait until all replicas know the tenant; costs it nothing, since nothing is sent that could be taken."""

    async def known() -> bool:
        return all(
            [(await post(stack.http, url, tenant, "")).json()["code"] == "empty_body" for url in replicas(stack)]
        )

    await eventually(known, within=IN_TIME)


async def test_whoever_waits_as_told_is_taken(stack: Sluice) -> None:
    tenant = await stack.tenant("polite", limits={"recordsPerSecond": RATE, "burstSeconds": 1})
    await first_seen(stack, tenant)
    urls = itertools.cycle(replicas(stack))
    taken: list[bool] = []
    for _ in range(10):
        while (answer := await post(stack.http, next(urls), tenant, body(RATE // 2))).status_code == 202:
            pass
        await asyncio.sleep(int(answer.headers["retry-after"]))
        answer = await post(stack.http, next(urls), tenant, body(RATE // 2))
        taken.append(answer.status_code == 202)
    assert sum(taken) >= 7


async def test_a_quota_of_bytes_holds_too(stack: Sluice) -> None:
    rate = 40_000
    tenant = await stack.tenant("bytes", limits={"bytesPerSecond": rate, "burstSeconds": 1})
    await first_seen(stack, tenant)
    tally = await flood(
        tenant,
        replicas(stack),
        per_second=300,
        batch=2,
        size=1000,
        enough=lambda tally: tally.seconds >= 8 and 1000 * tally.offered >= 4 * rate * (1 + tally.seconds),
    )
    accepted = await metric(stack, "sluice_ingest_accepted_bytes_total", tenant=tenant.id)
    allowed = rate * (1 + tally.seconds)
    assert accepted == pytest.approx(allowed, rel=0.1)
    check_refusals(tally, f"{rate} bytes")


async def test_a_backlog_at_its_limit_takes_no_more_until_workers_come(stack: Sluice) -> None:
    limit = 1024 * 1024
    tenant = await stack.tenant(
        IDLE_TENANT, exactly=True, lane="Dedicated", limits={"maxBacklogBytes": limit, "bytesPerSecond": 100 * limit}
    )
    await first_seen(stack, tenant)
    one, two = replicas(stack)
    sent = 0
    while (answer := await post(stack.http, one, tenant, body(64, 1000))).status_code == 202:
        sent += 64
        assert sent < 3 * limit / 1000
    assert sent > 0.8 * limit / 1000

    async def full_at(url: str) -> httpx.Response | None:
        answer = await post(stack.http, url, tenant, body(1))
        return answer if answer.status_code == 429 else None

    for full in (answer, await eventually(lambda: full_at(two), within=IN_TIME)):
        assert full is not None
        assert full.json()["code"] == "backlog_full"
        assert 1 <= int(full.headers["retry-after"]) <= 60

    async def shown() -> bool:
        return await stack.metric("ingest", "sluice_ingest_backlog_bytes", tenant=tenant.id) >= limit

    await eventually(shown, within=IN_TIME)

    await stack.stack.start_worker(tenant.lane)
    for url in (one, two):

        async def taken(url: str = url) -> bool:
            return (await post(stack.http, url, tenant, body(1))).status_code == 202

        await eventually(taken, within=IN_TIME)
    assert len(await stack.documents(tenant)) >= sent

    async def nothing_left() -> bool:
        return await metric(stack, "sluice_ingest_backlog_bytes", tenant=tenant.id) == 0

    await eventually(nothing_left, within=IN_TIME)


@pytest.mark.parametrize("subject", [parked_subject, dead_letter_subject], ids=["parked", "dead"])
async def test_a_tenant_with_too_much_set_aside_is_refused_alone(stack: Sluice, subject: Callable[[str], str]) -> None:
    # Buffered, or what is parked would go back at once; parked by a worker, or ingest would make one letter of many.
    tenant = await stack.tenant("aside", suspension="Buffer" if subject is parked_subject else "Active")
    other = await stack.tenant("beside")
    await first_seen(stack, tenant)
    await first_seen(stack, other)
    received = time.time_ns() // 1000
    part = Submission(tenant.id, tenant.config.uid, "r", "json_upload", received, bytes(16), 0, [Record("id", line())])
    letter, payload = enclose([pick_out(part, [0], [Version(1, 1, 0)])], STORE_REFUSES)
    places = asyncio.Semaphore(100)

    async def write() -> None:
        async with places:
            await write_letter(stack.broker, subject(tenant.id), letter, payload, timeout=30)

    try:
        await asyncio.gather(*(write() for _ in range(DEAD_LETTERS_PER_SUBJECT * 9 // 10)))
        for url in replicas(stack):

            async def refused(url: str = url) -> Any:
                answer = await post(stack.http, url, tenant, body(1))
                return answer.status_code == 429 and answer.json()["code"] == "set_aside_full"

            await eventually(refused, within=IN_TIME)
            assert (await post(stack.http, url, other, body(1))).status_code == 202
    finally:
        await purge_letters(stack.broker, subject(tenant.id))

    async def taken() -> bool:
        return (await post(stack.http, replicas(stack)[0], tenant, body(1))).status_code == 202

    await eventually(taken, within=IN_TIME)
