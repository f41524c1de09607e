"""A disk that stalls again and again, as one does that others share: all is slow, and nothing is lost."""

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from support.disks import disk
from support.faults import all_ready
from support.ledger import Ledger
from support.load import accepts_more, draw_batch, load
from support.outages import IN_TIME, SILENT, check_unavailable, timed
from support.redelivery import hastened_redelivery
from support.sluice import line, running

pytestmark = [pytest.mark.faults, pytest.mark.own_disk]

LASTS_SECONDS = 6.0


@pytest.mark.parametrize(
    ("stall", "pause"),
    [(0.2, 0.05), pytest.param(6.0, 0.5, marks=pytest.mark.long)],
    ids=["slow", "longer than a call may take"],
)
@pytest.mark.parametrize("whose", ["nats", pytest.param("mongod", marks=pytest.mark.long)])
async def test_a_disk_that_stalls_delays_and_loses_nothing(
    tmp_path: Path, tell: Callable[[str], None], whose: Literal["nats", "mongod"], stall: float, pause: float
) -> None:
    data_dir = tmp_path / "data"
    answers: Counter[str] = Counter()
    async with disk(data_dir / whose, megabytes=1500) as place, running(data_dir) as sluice:
        book = Ledger(sluice)
        tenants = [await sluice.tenant("stall"), await sluice.tenant("stall", original="Drop")]
        pids = {name: server.process.pid for name, server in sluice.servers.items()}
        async with load(book, *tenants, answers=answers), load(book, *tenants, of=draw_batch, senders=1):
            await accepts_more(book, 500)
            async with place.stalling(stall, pause=pause):
                await asyncio.sleep(LASTS_SECONDS / 2)
                requests = [timed(book.send(tenant, [{"text": line()} for _ in range(10)])) for tenant in tenants * 5]
                for (answer, _), seconds in await asyncio.gather(*requests):
                    if answer.status_code != 202:
                        check_unavailable(answer, *SILENT)
                    assert seconds < IN_TIME
                await asyncio.sleep(LASTS_SECONDS / 2)
            await all_ready(sluice)
            await accepts_more(book, 500)
        async with hastened_redelivery(sluice):
            await book.check(everywhere=True, within=90)
        assert {name: server.process.pid for name, server in sluice.servers.items()} == pids, "it needed a restart"
        for tenant in tenants:
            assert await sluice.dead_letters(tenant) == []
        tell(f"{book.summary()}; {dict(answers)}")
