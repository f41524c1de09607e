"""Rotation and revocation of keys: within two seconds in every state, and unknown keys are no lever."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import httpx
import msgspec
import psutil
import pytest

from sluice_core.edge.tenants_view import STALE_SECONDS
from sluice_core.errors import BrokerError
from sluice_core.keys import generate_key
from support.faults import ready_again
from support.sluice import JSON, TEXT, Account, Sluice, line
from support.waiting import eventually

REVOKED_WITHIN = 2.0
"""Seconds: a promise, not a bound on a slow machine."""
IN_TIME = 30.0


class Attempt(msgspec.Struct):
    """A request with the key that is revoked: when it was sent and answered, and how."""

    sent_at: float
    answered_at: float
    status: int


@asynccontextmanager
async def flow(sluice: Sluice, key: str) -> AsyncIterator[list[Attempt]]:
    """Requests one after the other over one keep-alive connection."""
    attempts: list[Attempt] = []
    stopping = asyncio.Event()
    headers = {"Authorization": f"Bearer {key}", "Content-Type": TEXT}

    async def send() -> None:
        async with httpx.AsyncClient(timeout=30, limits=httpx.Limits(max_connections=1)) as http:
            while not stopping.is_set():
                now = time.monotonic()
                answer = await http.post(f"{sluice.url}/ingest", content=line(), headers=headers)
                attempts.append(Attempt(now, time.monotonic(), answer.status_code))
                await asyncio.sleep(0.005)

    task = asyncio.create_task(send())

    async def flows() -> bool:
        return any(one.status == 202 for one in attempts)

    try:
        await eventually(flows, within=IN_TIME)
        yield attempts
    finally:
        stopping.set()
        await task


async def revoke(sluice: Sluice, tenant: Account) -> float:
    """Take `default` away and give `second` instead, as often as the broker needs; returns when it was done."""

    async def done() -> bool:
        try:
            await sluice.stack.rights.provisioner.set_keys(tenant.id, ["second"])
        except BrokerError:
            return False
        return True

    await eventually(done, within=IN_TIME)
    return time.monotonic()


async def second_key(sluice: Sluice, tenant: Account) -> str:
    secret = await sluice.stack.rights.secrets.read(tenant.id)
    assert secret is not None
    return secret.keys["second"]


async def accepted(sluice: Sluice, key: str) -> bool:
    return (await sluice.send(key, line(), TEXT)).status_code == 202


@pytest.mark.parametrize("state", ["at rest", "after the broker was killed", "while ingest stood still"])
async def test_a_revoked_key_stops_working_and_its_successor_works(sluice: Sluice, tenant: Account, state: str) -> None:
    nats, ingest = sluice.stack.servers.nats, sluice.stack.ingest
    await eventually(lambda: accepted(sluice, tenant.key), within=IN_TIME)
    async with flow(sluice, tenant.key) as attempts:
        match state:
            case "after the broker was killed":
                nats.process.send_signal(signal.SIGKILL)
                await ready_again(sluice, nats)
            case "while ingest stood still":
                ingest.process.send_signal(signal.SIGSTOP)
        try:
            revoked_at = await revoke(sluice, tenant)
            if state == "while ingest stood still":
                await asyncio.sleep(STALE_SECONDS)
        finally:
            ingest.process.send_signal(signal.SIGCONT)
        new = await second_key(sluice, tenant)
        began = time.monotonic()
        await eventually(lambda: accepted(sluice, new), within=IN_TIME)
        took = time.monotonic() - max(began, revoked_at)

        async def refused_at_last() -> bool:
            # One that was sent and answered after the time was up.
            return attempts[-1].sent_at > revoked_at + REVOKED_WITHIN + 0.5 and attempts[-1].status == 401

        await eventually(refused_at_last, within=IN_TIME)
    late = [one for one in attempts if one.answered_at > revoked_at + REVOKED_WITHIN]
    assert {one.status for one in late} <= {401, 503}
    if state == "at rest":
        assert took < REVOKED_WITHIN


async def test_a_body_that_ends_after_the_revocation_is_refused(sluice: Sluice, tenant: Account) -> None:
    await eventually(lambda: accepted(sluice, tenant.key), within=IN_TIME)
    stored = len(await sluice.documents(tenant))
    body = json.dumps({"text": line()}).encode()
    address = urlsplit(sluice.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        head = (
            f"POST /ingest HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {tenant.key}\r\n"
            f"Content-Type: {JSON}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body[:-1])
        await writer.drain()
        await asyncio.sleep(0.5)
        await revoke(sluice, tenant)
        await asyncio.sleep(REVOKED_WITHIN)
        writer.write(body[-1:])
        status = (await asyncio.wait_for(reader.readline(), IN_TIME)).split()[1]
    finally:
        writer.close()
    assert status == b"401"
    assert len(await sluice.documents(tenant)) == stored


async def test_a_key_that_comes_back_under_its_name_is_another_one(sluice: Sluice, tenant: Account) -> None:
    await revoke(sluice, tenant)
    await sluice.stack.rights.provisioner.set_keys(tenant.id, ["default", "second"])
    secret = await sluice.stack.rights.secrets.read(tenant.id)
    assert secret is not None
    assert secret.keys["default"] != tenant.key
    await eventually(lambda: accepted(sluice, secret.keys["default"]), within=IN_TIME)
    assert not await accepted(sluice, tenant.key)


async def test_a_thousand_unknown_keys_cost_neither_memory_nor_anybodys_service(
    sluice: Sluice, tenant: Account
) -> None:
    await eventually(lambda: accepted(sluice, tenant.key), within=IN_TIME)
    process = psutil.Process(sluice.stack.ingest.process.pid)
    places = asyncio.Semaphore(100)

    async def guess() -> int:
        async with places:
            return (await sluice.send(generate_key(), line(), TEXT)).status_code

    async def guesses(number: int) -> None:
        assert set(await asyncio.gather(*(guess() for _ in range(number)))) == {401}

    await guesses(200)
    before = process.memory_info().rss
    guessing = asyncio.create_task(guesses(1000))
    served = []
    while not guessing.done():
        served.append(await accepted(sluice, tenant.key))
        await asyncio.sleep(0.02)
    await guessing
    assert all(served)
    assert process.memory_info().rss - before < 16 * 1024 * 1024
