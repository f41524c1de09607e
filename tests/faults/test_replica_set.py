"""A database of three: the primary steps down, dies or stands still under load, and nothing is lost or stored twice."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from functools import partial

import pytest

from sluice_local.process import ChildProcess
from support.faults import RECOVERY_SECONDS, all_ready
from support.ledger import Ledger
from support.load import accepts_more, draw_batch, load
from support.replica_set import ReplicaSet, running_on_three_databases
from support.sluice import Sluice
from support.waiting import eventually

pytestmark = pytest.mark.faults

STILL_SECONDS = 6.0
"""Longer than it takes the others to elect another one."""


@pytest.fixture(scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Sluice, ReplicaSet]]:
    async with running_on_three_databases(tmp_path_factory.mktemp("databases")) as made:
        yield made


@pytest.mark.parametrize("times", [1, pytest.param(5, marks=pytest.mark.long)], ids=["once", "again and again"])
@pytest.mark.parametrize("how", ["steps down", "killed", pytest.param("still", marks=pytest.mark.long)])
async def test_a_primary_that_is_gone_is_replaced_and_nothing_is_lost(
    stage: tuple[Sluice, ReplicaSet], tell: Callable[[str], None], how: str, times: int
) -> None:
    sluice, members = stage
    book = Ledger(sluice)
    tenants = [await sluice.tenant("primary"), await sluice.tenant("primary", original="Drop")]
    answers: Counter[str] = Counter()
    async with load(book, *tenants, answers=answers), load(book, *tenants, answers=answers, of=draw_batch, senders=1):
        for _ in range(times):
            await accepts_more(book, 2_000)
            name = await eventually(members.primary, within=30)
            assert name is not None
            process = members.servers[name].process

            async def another(name: str = name, process: ChildProcess = process) -> bool:
                """One that was killed may be back so soon that it is elected again."""
                now = await members.primary()
                return now is not None and (now != name or members.servers[name].process is not process)

            match how:
                case "steps down":
                    await eventually(partial(stepped_down, members, name), within=RECOVERY_SECONDS)
                case "killed":
                    process.send_signal(signal.SIGKILL)
                case _:
                    process.send_signal(signal.SIGSTOP)
            try:
                if how == "still":
                    await asyncio.sleep(STILL_SECONDS)
                await eventually(another, within=RECOVERY_SECONDS)
            finally:
                process.send_signal(signal.SIGCONT)
            await all_ready(sluice)
            await eventually(members.whole, within=RECOVERY_SECONDS)
        await accepts_more(book, 2_000)
    await book.check(within=90)
    assert set(answers) <= {"202", "no answer"}, "the broker takes lines whatever the database does"
    for tenant in tenants:
        assert await sluice.dead_letters(tenant) == []
    tell(f"{times} times; {book.summary()}; {dict(answers)}")


async def stepped_down(members: ReplicaSet, name: str) -> bool:
    """Ask until it does: it refuses while no other one has all that it has."""
    if await members.primary() == name:
        await members.step_down()
    return await members.primary() != name
