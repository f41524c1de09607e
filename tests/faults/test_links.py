"""The network between parts and servers is cut, falls silent or is slow, while both of its ends live.

A cut is seen at once by both sides. Silence is the worse one: nobody is told anything, so only deadlines and signs of
life help. The servers are well all the time, so whatever goes wrong is ours.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable

import pytest

from support.faults import all_ready
from support.ledger import Ledger
from support.links import Link, running_with_links
from support.load import accepts_more, draw_batch, load
from support.outages import IN_TIME, SILENT, check_unavailable, timed
from support.proxy import Proxy, State
from support.redelivery import hastened_redelivery
from support.sluice import Account, Sluice, line
from support.waiting import eventually

pytestmark = pytest.mark.faults

Stage = tuple[Sluice, dict[Link, Proxy]]

STORE_TIMEOUT = 2
SHORT_SECONDS, LONG_SECONDS = 3.0, 20.0
"""The longer one is longer than the broker's client waits for a sign of life (9 s)."""


@pytest.fixture(scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    directory = tmp_path_factory.mktemp("links")
    async with running_with_links(directory, environ={"SLUICE_STORE_TIMEOUT": str(STORE_TIMEOUT)}) as (sluice, links):
        yield sluice, links


async def two_tenants(sluice: Sluice) -> list[Account]:
    return [await sluice.tenant("link"), await sluice.tenant("link", original="Drop")]


@pytest.mark.parametrize("seconds", [SHORT_SECONDS, pytest.param(LONG_SECONDS, marks=pytest.mark.long)])
@pytest.mark.parametrize(
    "state",
    [State.SILENT, pytest.param(State.CUT, marks=pytest.mark.long), pytest.param(State.SLOW, marks=pytest.mark.long)],
    ids=lambda state: state.value,
)
@pytest.mark.parametrize("link", Link, ids=lambda link: link.value)
async def test_a_disturbed_link_loses_nothing(
    stage: Stage, tell: Callable[[str], None], link: Link, state: State, seconds: float
) -> None:
    sluice, links = stage
    book, tenants = Ledger(sluice), await two_tenants(sluice)
    answers: Counter[str] = Counter()
    pids = {name: server.process.pid for name, server in sluice.servers.items()}
    async with load(book, *tenants, answers=answers), load(book, *tenants, answers=answers, of=draw_batch, senders=1):
        await accepts_more(book, 200)
        links[link].set(state)
        try:
            await asyncio.sleep(seconds / 2)
            await all_in_time(book, tenants, taken=link is not Link.INGEST_BROKER or state is State.SLOW)
            await asyncio.sleep(seconds / 2)
        finally:
            links[link].set(State.OPEN)
        await all_ready(sluice)
        await taken_again(book, tenants[0])
    async with hastened_redelivery(sluice):
        await book.check(within=60)
    assert {name: server.process.pid for name, server in sluice.servers.items()} == pids, "it needed a restart"
    for tenant in tenants:
        assert await sluice.dead_letters(tenant) == []
    tell(f"{book.summary()}; {dict(answers)}")


async def all_in_time(book: Ledger, tenants: list[Account], *, taken: bool) -> None:
    """Every request is answered within its time, with a 202 or an invitation to come again."""
    requests = [timed(book.send(tenant, [{"text": line()} for _ in range(10)])) for tenant in tenants * 5]
    statuses = set()
    for (answer, _), seconds in await asyncio.gather(*requests):
        if answer.status_code != 202:
            check_unavailable(answer, *SILENT)
        assert seconds < IN_TIME
        statuses.add(answer.status_code)
    assert taken or statuses == {503}, "a 202 came although nothing can have reached the broker"


async def taken_again(book: Ledger, tenant: Account) -> None:
    async def taken() -> bool:
        answer, _ = await book.send(tenant, [{"text": line()}])
        return answer.status_code == 202

    await eventually(taken, within=30)


async def test_the_links_are_what_the_parts_use(stage: Stage) -> None:
    """Were one of them not on the way, its tests would pass for nothing."""
    sluice, links = stage
    book, tenants = Ledger(sluice), await two_tenants(sluice)
    before = {link: proxy.passed_bytes for link, proxy in links.items()}
    await book.send(tenants[0], [{"text": line("x" * 10_000)}])
    await book.check()
    assert all(links[link].passed_bytes - before[link] > 10_000 for link in Link)
