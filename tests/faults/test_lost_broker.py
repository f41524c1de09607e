"""A broker that is not there yet, or comes back without what it knew: no shipper is told that its key is wrong.

A 401 makes it drop what it holds; absence is not refusal.
"""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from sluice_core.keys import generate_key
from support.faults import all_ready
from support.ledger import Ledger
from support.outages import IN_TIME, SILENT, absent_broker, check_unavailable, timed
from support.redelivery import hastened_redelivery
from support.sluice import Account, Sluice, line, running
from support.waiting import eventually

WATCHED_SECONDS = 3.0
"""Ingest reads its tenants every second: long enough for it to see that they are gone."""


@pytest.fixture
async def sluice(tmp_path: Path) -> AsyncIterator[Sluice]:
    async with running(tmp_path) as stack:
        yield stack


async def test_an_ingest_that_is_there_before_the_broker_refuses_nobody_for_good(sluice: Sluice) -> None:
    """It knows no key yet: a 401 would make every shipper drop what it holds."""
    ledger = Ledger(sluice)
    tenant = await sluice.tenant("early")
    ingest = sluice.stack.ingest
    async with absent_broker(sluice):
        before = ingest.process.pid
        await ingest.kill()
        await eventually(lambda: is_alive(sluice), within=30)
        pid = ingest.process.pid
        assert pid != before
        assert (await sluice.http.get(sluice.url + "/readiness")).status_code == 503
        for key in (tenant.key, generate_key()):
            answer, seconds = await timed(sluice.send(key, {"text": line()}))
            check_unavailable(answer, "not_ready")
            assert seconds < IN_TIME
    await all_ready(sluice)
    assert ingest.process.pid == pid
    await ledger.send_lines(tenant, 3)
    assert len(ledger.accepted) == 3
    assert (await sluice.send(generate_key(), {"text": line()})).status_code == 401
    async with hastened_redelivery(sluice):
        await ledger.check()


async def test_a_broker_that_comes_back_empty_makes_no_key_a_wrong_one(sluice: Sluice) -> None:
    """Its disk was lost, and with it the tenants: that they are not there does not mean that there are none."""
    tenant = await sluice.tenant("wiped")
    assert (await sluice.send(tenant, {"text": line()})).status_code == 202
    await sluice.idle()
    async with absent_broker(sluice):
        shutil.rmtree(sluice.stack.data_dir / "nats")
    await check_nobody_is_turned_away(sluice, tenant)
    # One that never saw the tenants knows no better.
    await sluice.stack.ingest.kill()
    await eventually(lambda: is_alive(sluice), within=30)
    await check_nobody_is_turned_away(sluice, tenant)


async def check_nobody_is_turned_away(sluice: Sluice, tenant: Account) -> None:
    """For some seconds, or until the tenant was provisioned again."""

    async def taken() -> bool:
        return (await sluice.send(tenant, {"text": line()})).status_code == 202

    until = time.monotonic() + WATCHED_SECONDS
    while time.monotonic() < until:
        unknown = asyncio.create_task(sluice.send(generate_key(), {"text": line()}))
        known, seconds = await timed(sluice.send(tenant, {"text": line()}))
        assert seconds < IN_TIME
        if known.status_code == 202 or (await unknown).status_code == 401:
            # Somebody put the tenants back; only then is a key that is not among them a wrong one.
            await unknown
            await eventually(taken, within=20)
            return
        for answer in (known, await unknown):
            check_unavailable(answer, *SILENT)
        await asyncio.sleep(0.1)


async def is_alive(sluice: Sluice) -> bool:
    with suppress(httpx.TransportError):
        return (await sluice.http.get(sluice.url + "/health")).status_code == 200
    return False
