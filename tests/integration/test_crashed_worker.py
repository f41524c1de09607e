"""A record that ends the worker's process, as native code can: it does so twice and no more, and nobody else pays."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support import crashing
from support.ledger import Ledger
from support.redelivery import hastened_redelivery
from support.sluice import Sluice, line, running
from support.waiting import eventually

IN_TIME = 60.0
MARK = "\N{SKULL AND CROSSBONES}"


@pytest.fixture(scope="module")
async def fragile(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sluice]:
    """A stack whose workers die of MARK."""
    environ = {"PYTHONPATH": str(Path(next(iter(crashing.__path__))))}
    async with running(tmp_path_factory.mktemp("fragile"), environ=environ) as sluice:
        yield sluice


async def test_a_record_that_crashes_the_worker_is_the_only_dead_letter(fragile: Sluice) -> None:
    ledger = Ledger(fragile)
    tenant, other = await fragile.tenant("fragile"), await fragile.tenant("neighbour")
    first = fragile.servers["worker-standard"].process.pid
    async with hastened_redelivery(fragile):
        await ledger.send_lines(other, 5)
        records = [{"log_id": f"{number}", "text": line()} for number in range(20)]
        records[7]["text"] = line(MARK)
        await ledger.send(tenant, records)
        await ledger.send_lines(other, 5)
        await ledger.check(within=IN_TIME)
        await ledger.send_lines(tenant, 5)
        await ledger.check(within=IN_TIME)
    assert fragile.servers["worker-standard"].process.pid != first, "it did crash"
    [stored] = await fragile.dead_letters(tenant)
    assert (stored.letter.log_id, stored.letter.reason) == ("7", "crashed_worker")
    submissions = stored.submissions()
    assert submissions is not None
    assert submissions[0].records[0].text == records[7]["text"]
    assert await fragile.dead_letters(other) == []
    assert len(await fragile.documents(tenant)) == 24
    assert await fragile.metric("worker-standard", "sluice_worker_suspects") == 0


async def test_two_such_records_in_one_batch_are_both_found(fragile: Sluice) -> None:
    ledger = Ledger(fragile)
    tenant = await fragile.tenant("fragile")
    async with hastened_redelivery(fragile):
        records = [{"log_id": f"{number}", "text": line(MARK if number in {3, 4} else "fine")} for number in range(8)]
        await ledger.send(tenant, records)
        await ledger.check(within=IN_TIME)
    letters = await fragile.dead_letters(tenant)
    assert {one.letter.log_id: one.letter.reason for one in letters} == {"3": "crashed_worker", "4": "crashed_worker"}


async def test_a_worker_that_is_killed_again_and_again_makes_no_dead_letters(fragile: Sluice) -> None:
    ledger = Ledger(fragile)
    tenant = await fragile.tenant("fragile")
    async with hastened_redelivery(fragile):
        for _ in range(4):
            process = fragile.servers["worker-standard"].process
            sending = [asyncio.create_task(ledger.send_lines(tenant, 200)) for _ in range(10)]
            await asyncio.sleep(0.15)
            process.send_signal(signal.SIGKILL)
            await process.wait()
            await asyncio.gather(*sending)

            async def back(killed: int = process.pid) -> bool:
                return fragile.servers["worker-standard"].process.pid != killed

            await eventually(back, within=30)
        await ledger.check(within=IN_TIME)
    assert await fragile.dead_letters(tenant) == []
