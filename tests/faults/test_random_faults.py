"""Processes die, stand still and are asked to stop at random moments under load, connections are cut, silent or slow,
and every 202 is kept.

Each run has a stack of its own and a schedule that its seed decides; `make faults SEEDS=7` repeats one. The seed
decides moments and requests, not how the machine's processes interleave: a rare failure may need several repetitions.
"""

import logging
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from sluice_core.names import STANDARD_LANE
from support.faults import RECOVERY_SECONDS, all_ready, inflict
from support.ledger import Ledger
from support.links import Link, running_with_links
from support.load import NO_ANSWER, load
from support.redelivery import hastened_redelivery
from support.schedule import Target, draw
from support.sluice import Sluice
from support.waiting import eventually

STILL = "faults-still"
DEDICATED = "faults-own"
DEDICATED_WORKER = f"worker-t-{DEDICATED}"
TARGETS = [
    Target("ingest", ours=True),
    Target(f"worker-{STANDARD_LANE}", ours=True),
    Target(DEDICATED_WORKER, ours=True),
    Target("nats-server"),
    Target("mongod"),
]

LINKS = [Target(link.value) for link in Link]

pytestmark = pytest.mark.faults


async def test_every_accepted_record_is_exactly_once_where_it_belongs(
    seed: int, tmp_path: Path, caplog: pytest.LogCaptureFixture, tell: Callable[[str], None]
) -> None:
    schedule = draw(seed, TARGETS, LINKS)
    answers: Counter[str] = Counter()
    async with running_with_links(tmp_path) as (sluice, links):
        bystander, *senders = [
            await sluice.tenant(STILL, exactly=True),
            await sluice.tenant("faults-a", exactly=True),
            await sluice.tenant("faults-b", exactly=True),
            await sluice.tenant("faults-drop", exactly=True, original="Drop"),
            await sluice.tenant(DEDICATED, exactly=True, lane="Dedicated"),
        ]
        ledger = Ledger(sluice)
        await ledger.send_lines(bystander, 1)  # all that its database may hold in the end
        await eventually(lambda: has_worker(sluice), within=30)
        try:
            async with load(ledger, *senders, seed=seed, answers=answers):
                await inflict(sluice, schedule, {link.value: proxy for link, proxy in links.items()})
                await all_ready(sluice)
                await eventually(lambda: proves_something(ledger), within=RECOVERY_SECONDS)
            async with hastened_redelivery(sluice), hastened_redelivery(sluice, senders[-1].lane):
                await ledger.check(everywhere=True, within=60)
        finally:  # pytest shows it when the test fails, and with -s
            print(f"\n{schedule}\nanswers {dict(answers)}; {ledger.summary()}")  # noqa: T201
            tell(f"{len(schedule.faults)} faults; {ledger.summary()}; {dict(answers)}")
    assert answers[NO_ANSWER], "no request noticed that ingest was killed"
    check_nothing_died_by_itself(caplog.records)


async def has_worker(sluice: Sluice) -> bool:
    return DEDICATED_WORKER in sluice.servers


async def proves_something(ledger: Ledger) -> bool:
    accepted = Counter(entry.tenant for entry in ledger.accepted)
    return len(accepted) == 5 and min(number for tenant, number in accepted.items() if tenant != STILL) > 20


def check_nothing_died_by_itself(records: list[logging.LogRecord]) -> None:
    """The supervisor notes each end. Those by our signals are expected; a crash would be hidden by the restart."""
    codes = {getattr(record, "exit_code", 0) for record in records}
    assert codes <= {0, -signal.SIGKILL, -signal.SIGTERM}
