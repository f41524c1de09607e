"""The power fails under load, and the servers go on from what their disks had been told to keep.

What a process has written survives its death, so killing one says nothing of flushes: these tests take the disk's
content of one moment without what was in memory (`support.disks`). With a setting less than ours the same runs lose
thousands of records, which shows that they would notice.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Literal

import pytest

from sluice_core.names import STANDARD_LANE
from sluice_local.server import Server
from support.altered import altered_broker, altered_database
from support.disks import Disk, disk
from support.faults import all_ready
from support.ledger import Ledger
from support.load import accepts_more, draw_batch, load
from support.redelivery import hastened_redelivery
from support.sluice import Account, Sluice, running
from support.waiting import eventually

pytestmark = [pytest.mark.faults, pytest.mark.own_disk]

Who = Literal["broker", "database"]

ACCEPTED = 10_000
"""Records with a 202 before the power fails."""
DEDICATED = "power-own"
FOLDERS: dict[Who, str] = {"broker": "nats", "database": "mongod"}
MEGABYTES: dict[Who, int] = {"broker": 400, "database": 1500}


@asynccontextmanager
async def on_disks(
    folder: Path, *whose: Who, environ: dict[str, str] | None = None, working: bool = True
) -> AsyncIterator[tuple[Sluice, dict[Who, Disk]]]:
    """A stack whose broker or database, or both, have a disk of their own each."""
    data_dir = folder / "data"
    idle = [] if working else [STANDARD_LANE, f"t-{DEDICATED}"]
    async with AsyncExitStack() as stack:
        disks = {
            who: await stack.enter_async_context(disk(data_dir / FOLDERS[who], megabytes=MEGABYTES[who]))
            for who in whose
        }
        yield (
            await stack.enter_async_context(running(data_dir, environ=environ, lanes_without_worker=idle)),
            disks,
        )


async def lose_power(sluice: Sluice, disks: dict[Who, Disk]) -> None:
    """At one moment, for all of these. Afterwards they run again, on what their disks had kept."""
    servers: dict[Who, Server] = {"broker": sluice.stack.servers.nats, "database": sluice.stack.servers.mongod}
    for who in disks:
        servers[who].process.send_signal(signal.SIGSTOP)
    kept = {who: await one.keep_what_is_flushed() for who, one in disks.items()}
    async with AsyncExitStack() as dead:
        for who in disks:
            await dead.enter_async_context(sluice.stack.without(servers[who]))
        for who, one in disks.items():
            await one.put_in(kept[who])


async def accept(sluice: Sluice, book: Ledger, disks: dict[Who, Disk], times: int = 1) -> tuple[int, list[str]]:
    """Fill the ledger, lose power in the middle of it, recover; how many had been accepted, and what is wrong."""
    tenants = [await sluice.tenant(name, exactly=True) for name in ("power-a", "power-b")]
    tenants.append(await sluice.tenant(DEDICATED, exactly=True, lane="Dedicated"))
    async with load(book, *tenants, of=draw_batch, senders=3), load(book, *tenants, senders=3):
        await accepts_more(book, ACCEPTED)
        if "database" in disks:
            await eventually(lambda: enough_stored(sluice, tenants), within=120, pause=0.2)
        before = len(book.accepted)
        for _ in range(times):
            await lose_power(sluice, disks)
            await all_ready(sluice)
            await asyncio.sleep(1)
    for lane in (STANDARD_LANE, tenants[-1].lane):
        if lane not in sluice.stack.workers:
            await sluice.stack.start_worker(lane)
    async with hastened_redelivery(sluice), hastened_redelivery(sluice, tenants[-1].lane):
        return before, await book.look(everywhere=True, within=90)


async def enough_stored(sluice: Sluice, tenants: Sequence[Account]) -> bool:
    return sum([await sluice.logs(tenant).estimated_document_count() for tenant in tenants]) >= ACCEPTED


@pytest.mark.parametrize("times", [1, pytest.param(5, marks=pytest.mark.long)], ids=["once", "again and again"])
@pytest.mark.parametrize(
    "whose", [("broker",), pytest.param(("database",), marks=pytest.mark.long), ("broker", "database")], ids="+".join
)
async def test_a_power_failure_loses_nothing_that_was_accepted(
    tmp_path: Path, tell: Callable[[str], None], whose: Sequence[Who], times: int
) -> None:
    async with on_disks(tmp_path, *whose, working=whose != ("broker",)) as (sluice, disks):
        book = Ledger(sluice)
        before, problems = await accept(sluice, book, disks, times)
        tell(f"{before} accepted before the power failed; {book.summary()}")
    assert problems == []


async def test_with_the_brokers_default_the_same_failure_loses_thousands(
    tmp_path: Path, tell: Callable[[str], None]
) -> None:
    """The control: were nothing lost here, the test above would prove nothing."""
    broker = altered_broker(tmp_path, {"jetstream": {"sync_interval": "2m"}})
    environ = {"SLUICE_NATS_SERVER": str(broker)}
    async with on_disks(tmp_path, "broker", environ=environ, working=False) as (sluice, disks):
        book = Ledger(sluice)
        before, problems = await accept(sluice, book, disks)
        tell(f"{before} accepted before the power failed; {book.summary()}")
    missing = [problem for problem in problems if problem.startswith("missing")]
    assert len(missing) > ACCEPTED // 5
    assert missing == problems


@pytest.mark.long
async def test_with_writes_that_do_not_wait_for_the_journal_the_same_failure_loses_records(
    tmp_path: Path, tell: Callable[[str], None]
) -> None:
    """The other control. The journal is flushed twice a second anyway, so one failure takes half a second's records at
    most, and none if it comes right after a flush: so the power fails three times."""
    environ = {"SLUICE_MONGOD": str(altered_database(tmp_path, "--journalCommitInterval", "500"))}
    async with on_disks(tmp_path, "database", environ=environ) as (sluice, disks):
        admin = sluice.stack.rights.client.admin
        config = (await admin.command("replSetGetConfig"))["config"]
        config |= {"version": config["version"] + 1, "writeConcernMajorityJournalDefault": False}
        await admin.command("replSetReconfig", config)
        book = Ledger(sluice)
        before, problems = await accept(sluice, book, disks, times=3)
        tell(f"{before} accepted before the power failed; {book.summary()}")
    missing = [problem for problem in problems if problem.startswith("missing")]
    assert missing
    assert missing == problems
