"""Parts that are stopped or killed while records are on their way: every 202 is kept, and everything comes back."""

import asyncio
import signal
import time

import httpx
import pytest

from sluice_core.envelope import Record, Submission, encode_envelope, encode_submission
from sluice_core.ids import ID_BYTES, uuid7
from sluice_local.endpoints import Endpoints
from sluice_local.ports import is_free
from support.behind import publish
from support.ledger import Ledger, Outcome
from support.load import load
from support.redelivery import hastened_redelivery
from support.sluice import Account, Sluice, line
from support.waiting import eventually

LOAD_SECONDS = 1.2


async def restarted(sluice: Sluice, name: str, pid: int) -> None:
    """Wait until the process is another one, and ready."""

    async def again() -> bool:
        if sluice.stack.endpoints.pids[name] == pid:
            return False
        if (metrics := sluice.stack.endpoints.metrics.get(name)) is None:
            return not is_free(sluice.servers[name].port)
        try:
            answer = await sluice.http.get(metrics.replace("/metrics", "/readiness"))
        except httpx.TransportError:
            return False
        return answer.status_code == 200

    await eventually(again, within=30)


@pytest.mark.parametrize("part", ["ingest", "worker-standard"])
async def test_a_part_that_is_asked_to_stop_loses_nothing(
    sluice: Sluice, ledger: Ledger, tenant: Account, other: Account, part: str
) -> None:
    async with load(ledger, tenant, other):
        await asyncio.sleep(LOAD_SECONDS / 2)
        process = sluice.servers[part].process
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 20) == 0
        await restarted(sluice, part, process.pid)
        await asyncio.sleep(LOAD_SECONDS / 2)
    assert len(ledger.accepted) > 50
    # Far below the 30 s after which the broker would deliver again: it was given back or finished.
    await ledger.check(within=15)


@pytest.mark.parametrize("part", ["ingest", "worker-standard", "nats-server", "mongod"])
async def test_a_process_that_is_killed_loses_nothing(
    sluice: Sluice, ledger: Ledger, tenant: Account, other: Account, part: str
) -> None:
    async with load(ledger, tenant, other):
        await asyncio.sleep(LOAD_SECONDS / 2)
        process = sluice.servers[part].process
        process.send_signal(signal.SIGKILL)
        assert await process.wait() == -signal.SIGKILL
        await restarted(sluice, part, process.pid)
        await asyncio.sleep(LOAD_SECONDS / 2)
    assert len(ledger.accepted) > 50
    async with hastened_redelivery(sluice):
        await ledger.check(within=40)


async def test_a_database_that_stands_still_delays_and_loses_nothing(
    sluice: Sluice, ledger: Ledger, tenant: Account
) -> None:
    process = sluice.stack.servers.mongod.process
    process.send_signal(signal.SIGSTOP)
    try:
        answer, _ = await ledger.send(tenant, [{"text": line()} for _ in range(10)])
        assert answer.status_code == 202
        await asyncio.sleep(1)
    finally:
        process.send_signal(signal.SIGCONT)
    await ledger.check()


async def test_what_a_stopping_ingest_accepted_is_answered_truly(
    sluice: Sluice, ledger: Ledger, tenant: Account
) -> None:
    """Requests that are open when SIGTERM comes get their own answer, not a closed connection."""
    pid = sluice.stack.ingest.process.pid
    sluice.stack.servers.nats.process.send_signal(signal.SIGSTOP)
    try:
        open_requests = [asyncio.create_task(ledger.send(tenant, [{"text": line()}])) for _ in range(10)]
        await asyncio.sleep(0.3)
        sluice.stack.ingest.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.3)
    finally:
        sluice.stack.servers.nats.process.send_signal(signal.SIGCONT)
    answers = await asyncio.gather(*open_requests)
    assert {answer.status_code for answer, _ in answers} <= {202, 503}
    await restarted(sluice, "ingest", pid)
    await ledger.check()


async def test_the_endpoints_file_names_the_new_process(sluice: Sluice) -> None:
    pid = sluice.stack.ingest.process.pid
    await sluice.stack.ingest.kill()
    await restarted(sluice, "ingest", pid)

    async def written() -> bool:
        endpoints = Endpoints.load(sluice.stack.data_dir)
        return endpoints is not None and endpoints.pids["ingest"] == sluice.stack.ingest.process.pid

    await eventually(written, within=10)


async def test_a_backlog_of_many_messages_is_worked_off_without_pauses(sluice: Sluice, ledger: Ledger) -> None:
    """Longer than several pull requests: each must follow the one before at once, not when that has expired."""
    tenant = await sluice.tenant("idle-backlog", exactly=True, lane="Dedicated")
    texts = [line() for _ in range(1_200)]
    for start in range(0, len(texts), 100):
        payloads = []
        for text in texts[start : start + 100]:
            ledger.note(tenant, None, text).outcome = Outcome.ACCEPTED
            payloads.append(envelope(tenant, text))
        await asyncio.gather(*(publish(sluice, tenant.lane, payload) for payload in payloads))
    await sluice.stack.start_worker(tenant.lane)
    await ledger.check(within=9)  # it takes one second; with pauses of three it took twelve


def envelope(tenant: Account, text: str) -> bytes:
    now = time.time_ns()
    base = uuid7(now // 1_000_000).to_bytes(ID_BYTES)
    records = [Record(None, text)]
    submission = Submission(tenant.id, tenant.config.uid, "r", "text_upload", now // 1000, base, 0, records)
    return encode_envelope([encode_submission(submission)])
