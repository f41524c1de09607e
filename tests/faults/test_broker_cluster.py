"""A broker of three: the leader dies or stands still under load, and the lane goes on without it."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable

import pytest

from support.broker_cluster import Cluster, running_on_three_brokers
from support.faults import RECOVERY_SECONDS, all_ready
from support.ledger import Ledger
from support.load import accepts_more, draw_batch, load
from support.outages import IN_TIME, check_unavailable, timed
from support.redelivery import hastened_redelivery
from support.sluice import Account, Sluice, line
from support.waiting import eventually

pytestmark = [
    pytest.mark.faults,
    # The broker's client leaves connections to a server that stands still to the garbage collector.
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <function StreamWriter:pytest.PytestUnraisableExceptionWarning"
    ),
]

STILL_SECONDS = 8.0
"""Longer than the others wait for a leader's sign of life (4 s at least, 9 s at most)."""


@pytest.fixture(scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Sluice, Cluster]]:
    async with running_on_three_brokers(tmp_path_factory.mktemp("brokers")) as made:
        yield made


@pytest.mark.parametrize("times", [1, pytest.param(3, marks=pytest.mark.long)], ids=["once", "again and again"])
@pytest.mark.parametrize(
    "how", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.long)], ids=["killed", "still"]
)
async def test_a_leader_that_is_gone_is_replaced_and_nothing_is_lost(
    stage: tuple[Sluice, Cluster], tell: Callable[[str], None], how: signal.Signals, times: int
) -> None:
    sluice, cluster = stage
    book = Ledger(sluice)
    tenants = [await sluice.tenant("leader"), await sluice.tenant("leader", original="Drop")]
    await cluster.whole(within=60)  # the tenants' own are new
    answers: Counter[str] = Counter()
    outages = []
    async with load(book, *tenants, answers=answers), load(book, *tenants, answers=answers, of=draw_batch, senders=1):
        for _ in range(times):
            await accepts_more(book, 2_000)
            name = await eventually(cluster.leader, within=30)
            assert name is not None
            process = cluster.servers[name].process
            process.send_signal(how)
            try:
                outages.append(await until_taken(book, tenants[0]))
                other = await eventually(cluster.leader, within=30)
                if how is signal.SIGSTOP:
                    assert other != name
                    await asyncio.sleep(STILL_SECONDS)
            finally:
                process.send_signal(signal.SIGCONT)
            await all_ready(sluice)
            await cluster.whole(within=RECOVERY_SECONDS)
        await accepts_more(book, 2_000)
    async with hastened_redelivery(sluice):
        await book.check(within=90)
    for tenant in tenants:
        assert await sluice.dead_letters(tenant) == []
    longest = max(outages)
    tell(f"{times} times, the longest without a 202 {longest:.1f} s; {book.summary()}; {dict(answers)}")


async def until_taken(book: Ledger, tenant: Account) -> float:
    """Send one record after the other until one gets its 202 that was sent after the fault; how long that took."""
    begun = time.monotonic()
    while True:
        (answer, _), seconds = await timed(book.send(tenant, [{"text": line()}]))
        if answer.status_code == 202:
            return time.monotonic() - begun
        check_unavailable(answer, "broker_unavailable", "not_ready")
        assert seconds < IN_TIME
        assert time.monotonic() - begun < RECOVERY_SECONDS
