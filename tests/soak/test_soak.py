"""A long run under load and random faults leaves nothing behind: neither memory nor files nor connections nor records.

Broker, database, one ingest and one worker are killed and stand still at random moments all the time; the other ingest
and the other worker stand still at times and live through everything, so what a lost connection leaves behind adds up
in them. Those two are judged, and the connections at broker and database; the rest is shown. Not part of `make test`.
"""

import asyncio
import itertools
import logging
import random
import signal
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from rich.console import Console
from rich.table import Table

from sluice_core.limits import MIB
from sluice_core.names import STANDARD_LANE
from sluice_local.part import Part
from support.faults import all_ready, inflict
from support.ledger import Ledger, Outcome
from support.load import load
from support.redelivery import hastened_redelivery
from support.sampling import Samples
from support.schedule import Target, draw
from support.sluice import Account, Sluice, line, running
from support.steadiness import Rule, Sample, TooFewSamples, floors, judge_series
from support.waiting import eventually

DEDICATED = "soak-own"
OLD_WORKER = f"worker-{STANDARD_LANE}"
OLD_INGEST = "ingest-2"
TARGETS = [
    Target("ingest", ours=True),
    Target(f"worker-t-{DEDICATED}", ours=True),
    Target("nats-server"),
    Target("mongod"),
]
SAMPLE_SECONDS = 3.0
QUIET_SECONDS = (2.0, 8.0)
"""Between one schedule of faults and the next."""
PAUSE_SECONDS = 0.15
"""The longest between two requests of a sender. The worker must keep up while nothing is wrong: one that is always
behind holds all it may, and then its backlog is sampled, up and down by a tenth, not what is left when that is gone."""
IN_FLIGHT_BYTES = 24 * MIB
"""The interpreter keeps room for the largest backlog that a worker ever held. With this it comes while warming up, not
at any time in an hour; what is judged then is only what adds up."""
MEMORY = Rule(percent_per_minute=1.0, apart=2.0)
"""MiB: two of the interpreter's pools."""
FILES = Rule(percent_per_minute=1.0, apart=3.0)
"""Descriptors: clients come and go."""
CONNECTIONS = Rule(percent_per_minute=1.0, apart=5.0)
LATENCY = Rule(percent_per_minute=20.0, apart=250.0)
"""Milliseconds. The machine may become busier meanwhile; a queue that is never done grows for ever."""


class Spread(Sluice):
    """Requests go to both ingest processes in turn."""

    def __init__(self, sluice: Sluice) -> None:
        super().__init__(sluice.stack, sluice.http)
        self._turns = itertools.cycle([sluice.stack.ingest, *sluice.stack.more_ingest])

    @property
    def url(self) -> str:
        return next(self._turns).url


async def test_nothing_is_left_behind(
    seed: int, minutes: float, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    print(f"\nseed {seed}, {minutes:g} minutes")  # noqa: T201
    caplog.set_level(logging.WARNING)
    answers: Counter[str] = Counter()
    samples = Samples()
    faults: Counter[str] = Counter()
    async with running(tmp_path, environ={"SLUICE_IN_FLIGHT_BYTES": str(IN_FLIGHT_BYTES)}) as sluice:
        await sluice.stack.start_ingest()
        spread = Spread(sluice)
        bystander, prober, *senders = [
            await sluice.tenant("soak-still", exactly=True),
            await sluice.tenant("soak-probe", exactly=True),
            await sluice.tenant("soak-a", exactly=True),
            await sluice.tenant("soak-b", exactly=True),
            await sluice.tenant("soak-drop", exactly=True, original="Drop"),
            await sluice.tenant(DEDICATED, exactly=True, lane="Dedicated"),
        ]
        ledger = Ledger(spread)
        await ledger.send_lines(bystander, 1)
        await eventually(lambda: _has_worker(sluice), within=30)
        old = {name: sluice.servers[name].process.pid for name in (OLD_INGEST, OLD_WORKER)}
        seconds = minutes * 60
        began = time.monotonic()
        try:
            async with load(ledger, *senders, seed=seed, answers=answers, pause=PAUSE_SECONDS):
                sampling = asyncio.create_task(_sample(sluice, ledger, prober, samples, began))
                pausing = asyncio.create_task(_pause(sluice, random.Random(f"{seed}/pauses"), faults))  # noqa: S311
                await _trouble(sluice, seed, began + seconds, faults)
                for task in (pausing, sampling):
                    task.cancel()
                    with suppress(asyncio.CancelledError):
                        await task
                await all_ready(sluice)
            async with hastened_redelivery(sluice), hastened_redelivery(sluice, senders[-1].lane):
                await ledger.check(within=120)
        finally:
            print(f"faults: {dict(faults)}\nanswers: {dict(answers)}\n{ledger.summary()}")  # noqa: T201
        assert {name: sluice.servers[name].process.pid for name in old} == old, "it was to live through everything"
    _print_ledger(ledger)
    growing = _report(samples, old, seconds)
    codes = {getattr(record, "exit_code", 0) for record in caplog.records}
    assert codes <= {0, -signal.SIGKILL, -signal.SIGTERM}, "something died by itself"
    assert len(ledger.accepted) > 100 * minutes
    assert not growing, "growing: " + "; ".join(growing)


async def _has_worker(sluice: Sluice) -> bool:
    return f"worker-t-{DEDICATED}" in sluice.servers


async def _trouble(sluice: Sluice, seed: int, until: float, faults: Counter[str]) -> None:
    rng = random.Random(f"{seed}/quiet")  # noqa: S311 - repeatable
    for number in itertools.count():
        if time.monotonic() >= until:
            return
        schedule = draw(seed + number, TARGETS)
        await inflict(sluice, schedule)
        await all_ready(sluice)
        faults.update(f"{fault.kind.value} {fault.target}" for fault in schedule.faults)
        await asyncio.sleep(min(rng.uniform(*QUIET_SECONDS), max(0.0, until - time.monotonic())))


async def _pause(sluice: Sluice, rng: random.Random, faults: Counter[str]) -> None:
    while True:
        await asyncio.sleep(rng.uniform(5, 25))
        name = rng.choice([OLD_INGEST, OLD_WORKER])
        process = sluice.servers[name].process
        process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(rng.uniform(0.1, 2.0))
        finally:
            process.send_signal(signal.SIGCONT)
        faults[f"pause {name}"] += 1


async def _sample(sluice: Sluice, ledger: Ledger, prober: Account, samples: Samples, began: float) -> None:
    parts = [sluice.stack.ingest, *sluice.stack.more_ingest]
    while True:
        due = time.monotonic() + SAMPLE_SECONDS
        await samples.take(sluice, time.monotonic() - began)
        await asyncio.gather(*(_probe(sluice, ledger, prober, part, samples, began) for part in parts))
        await asyncio.sleep(max(0.0, due - time.monotonic()))


async def _probe(sluice: Sluice, ledger: Ledger, prober: Account, part: Part, samples: Samples, began: float) -> None:
    """One record through this ingest; without a 202 it was hit by a fault, and that is no latency."""
    entry = ledger.note(prober, None, line())
    headers = {"Authorization": f"Bearer {prober.key}", "Content-Type": "text/plain"}
    sent = time.monotonic()
    try:
        answer = await sluice.http.post(
            f"{part.url}/ingest", content=entry.text.encode(), headers=headers, timeout=2 * SAMPLE_SECONDS
        )
    except httpx.TransportError:
        return
    if answer.status_code == 202:
        samples.latencies[part.name].append((sent - began, (time.monotonic() - sent) * 1000))
        ledger.read(answer, [entry])


def _print_ledger(ledger: Ledger) -> None:
    outcomes = Counter(entry.outcome for entry in ledger.entries)
    tenants = len({entry.tenant for entry in ledger.entries})
    print(  # noqa: T201
        f"I1 {outcomes[Outcome.ACCEPTED]:,} accepted, each in its tenant's database or among its dead letters once\n"
        f"I2 {outcomes[Outcome.REFUSED]:,} refused, none anywhere; {outcomes[Outcome.UNKNOWN]:,} without a final"
        f" answer, each at most once\n"
        f"I3 {tenants} databases and all dead letters hold nothing else"
    )


def _report(samples: Samples, old: dict[str, int], seconds: float) -> list[str]:
    """Prints the table; returns what grows or cannot be judged."""
    table = Table(title="second third, last third, slope of both", title_justify="left")
    for column in ("what", "second", "last", "% a minute", "verdict"):
        table.add_column(column, justify="left" if column in {"what", "verdict"} else "right")
    series: list[tuple[str, list[Sample], Rule]] = []
    for (name, pid), process in samples.processes.items():
        if old.get(name) == pid:
            series.append((f"memory of {name}, MiB", floors(process.memory, seconds), MEMORY))
            series.append((f"open files of {name}", process.files, FILES))
    series += [(f"connections at {name}", taken, CONNECTIONS) for name, taken in samples.connections.items()]
    series += [(f"latency of {name}, ms", taken, LATENCY) for name, taken in samples.latencies.items()]
    found: list[str] = []
    for what, taken, rule in series:
        try:
            verdict = judge_series(taken, rule, seconds)
        except TooFewSamples as error:
            table.add_row(what, "", "", "", str(error))
            found.append(f"{what}: {error}")
            continue
        word = "growing" if verdict.growing else "flat"
        table.add_row(what, f"{verdict.second:.1f}", f"{verdict.last:.1f}", f"{verdict.percent_per_minute:+.2f}", word)
        if verdict.growing:
            found.append(what)
    shorter = [one for one in samples.processes.values() if old.get(one.name) != one.pid]
    for name in sorted({one.name for one in shorter}):
        peak = max(value for one in shorter if one.name == name for _, value in one.memory)
        most = max(value for one in shorter if one.name == name for _, value in one.files)
        lives = sum(one.name == name for one in shorter)
        table.add_row(f"{name}, in {lives} lives", "", "", "", f"peak {peak:.0f} MiB, {most:.0f} files; not judged")
    Console(width=120).print(table)
    return found
