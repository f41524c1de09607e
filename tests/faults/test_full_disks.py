"""A disk runs full under load and has room again later: no 202 for what is not stored, and nothing accepted is lost."""

import asyncio
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from sluice_core.names import STANDARD_LANE
from sluice_local.ports import HOST
from sluice_local.server import Server
from support.commands import command
from support.disks import disk
from support.faults import RECOVERY_SECONDS, all_ready
from support.ledger import Ledger
from support.load import accepts_more, draw_batch, load
from support.outages import IN_TIME, check_unavailable, timed
from support.redelivery import hastened_redelivery
from support.sluice import ENVIRON, Account, Sluice, line, running
from support.waiting import eventually

pytestmark = [pytest.mark.faults, pytest.mark.own_disk]

MIB = 1024 * 1024
RESTART_IF_SILENT_FOR = 4.0
"""Seconds after which somebody who follows the runbook restarts the broker."""


@pytest.mark.long
async def test_a_broker_whose_disk_is_full_says_so_and_loses_nothing(
    tmp_path: Path, tell: Callable[[str], None]
) -> None:
    """nats-server takes nothing more after a write that failed, until it is restarted."""
    data_dir = tmp_path / "data"
    answers: Counter[str] = Counter()
    async with (
        disk(data_dir / "nats", megabytes=100) as place,
        running(data_dir, lanes_without_worker=[STANDARD_LANE]) as sluice,
    ):
        book = Ledger(sluice)
        tenants = [await sluice.tenant("full-a", exactly=True), await sluice.tenant("full-b", exactly=True)]
        await place.fill(leaving=3 * MIB // 2)
        async with load(book, *tenants, of=draw_batch, answers=answers):
            await eventually(lambda: refused(book, tenants[0]), within=60)
            accepted = len(book.accepted)
            requests = [timed(book.send(tenant, [{"text": line()}])) for tenant in tenants]
            for (answer, _), seconds in await asyncio.gather(*requests):
                check_unavailable(answer, "broker_unavailable", "broker_full")
                assert seconds < IN_TIME
            await all_answered_with(answers, "503", more=4)
            assert len(book.accepted) == accepted, "something was accepted although the disk was full"
            place.relieve()
            restarted = not await takes_by_itself(book, tenants[0])
            if restarted:
                assert (await health(sluice)).status_code == 503, "nothing shows that it has to be restarted"
                await sluice.stack.servers.nats.stop()  # what keeps it running starts it again
            await all_ready(sluice)
        await sluice.stack.start_worker(STANDARD_LANE)
        async with hastened_redelivery(sluice):
            await book.check(everywhere=True, within=60)
        how = "after a restart" if restarted else "by itself"
        tell(f"{accepted} accepted before it was full, it took more again {how}; {book.summary()}; {dict(answers)}")
        assert accepted > 0
        assert len(book.accepted) > accepted


async def health(sluice: Sluice) -> httpx.Response:
    """What a probe of the broker sees."""
    return await sluice.http.get(f"http://{HOST}:{sluice.stack.servers.ports.nats_monitor}/healthz")


async def refused(book: Ledger, tenant: Account) -> bool:
    answer, _ = await book.send(tenant, [{"text": line()}])
    return answer.status_code == 503


async def all_answered_with(answers: Counter[str], status: str, *, more: int) -> None:
    """Wait for so many more answers; all of them have this status."""
    before = answers.copy()

    async def enough() -> bool:
        return answers[status] - before[status] >= more

    await eventually(enough, within=120)
    assert {one for one in answers if answers[one] > before[one]} == {status}


async def takes_by_itself(book: Ledger, tenant: Account) -> bool:
    try:
        async with asyncio.timeout(RESTART_IF_SILENT_FOR):
            while await refused(book, tenant):
                await asyncio.sleep(0.2)
    except TimeoutError:
        return False
    return True


@pytest.mark.long
async def test_a_database_whose_disk_is_full_delays_and_loses_nothing(
    tmp_path: Path, tell: Callable[[str], None]
) -> None:
    """mongod ends when it cannot write its journal, and cannot start again before there is room."""
    data_dir = tmp_path / "data"
    answers: Counter[str] = Counter()
    async with disk(data_dir / "mongod", megabytes=1000) as place, running(data_dir) as sluice:
        book = Ledger(sluice)
        tenants = [await sluice.tenant("full-a", exactly=True), await sluice.tenant("full-b", exactly=True)]
        mongod = sluice.stack.servers.mongod
        first = mongod.process.pid
        async with load(book, *tenants, of=draw_batch, answers=answers):
            await sluice.idle(within=60)
            await place.fill(leaving=2 * MIB)
            await eventually(lambda: has_ended(mongod, first), within=120)
            while_full = len(book.accepted)
            await accepts_more(book, 1_000)
            place.relieve()
            await all_ready(sluice)
        await book.check(everywhere=True, within=RECOVERY_SECONDS)
        assert set(answers) <= {"202", "no answer"}, "the broker takes lines whatever the database does"
        letters = sum([len(await sluice.dead_letters(tenant)) for tenant in tenants])
        assert letters == 0
        tell(f"{while_full} accepted before mongod ended; {book.summary()}; {dict(answers)}")


async def has_ended(server: Server, pid: int) -> bool:
    return not server.running or server.process.pid != pid


async def test_a_full_disk_is_really_full(tmp_path: Path) -> None:
    """What the other tests stand on."""
    async with disk(tmp_path / "mounted", megabytes=8) as place:
        await place.fill(leaving=0)
        with pytest.raises(OSError, match="No space left"):
            (place.directory / "more").write_bytes(bytes(8 * MIB))
        place.relieve()
        assert place.free_bytes > MIB
    assert not list((tmp_path / "mounted").iterdir())


_DIES = """
import asyncio, os, signal, sys
from pathlib import Path
from support.commands import command
from support.disks import disk

async def main():
    async with disk(Path(sys.argv[1]), megabytes=8):
        print(os.path.ismount(sys.argv[1]), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_a_disk_goes_with_the_process_that_mounted_it(tmp_path: Path) -> None:
    """Killed tests leave no mount behind, and no loop device."""
    place = tmp_path / "mounted"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _DIES, place),
        env={**ENVIRON, "PYTHONPATH": str(Path(__file__).parents[1])},
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await process.communicate()
    assert (printed.strip(), process.returncode) == (b"True", -signal.SIGKILL)

    async def gone() -> bool:
        return not place.is_mount() and str(place) not in await command("losetup", "--list")

    await eventually(gone, within=30)
