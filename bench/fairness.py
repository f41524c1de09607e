"""`python -m bench.fairness`: what one tenant notices when another one floods the lane that both share.

The calm tenant sends single records at a steady pace; its times are taken from just before the request to the 202, and
to the change stream's event. Alone, and while another tenant offers ten times its quota, and while a third one uses a
quota that is larger than what the worker stores; in turn, in several rounds, since one stall of a disk decides a p99
(TMPDIR=/dev/shm leaves the disk out).
Before each phase the lane is empty. What a quota allows at once, its burst, comes in at the beginning, so what follows
is shown apart as well. Exit 0 when the median p99s are at most twice those of the calm phases, for the flood above
the quota, its burst included; the other is shown and judged by nobody, unless it is asked for by name.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median

import msgspec
from rich.console import Console
from rich.table import Table

from bench.calm import PER_SECOND, WELL, Sender, Watch, steadily, watching
from bench.data import make_lines
from bench.flood import Job, Result, Stream, flooding
from bench.load import request
from bench.quantiles import quantile
from sluice_core.edge.lanes import lane_progress
from sluice_core.edge.store import connect
from sluice_core.limits import DEFAULT_LIMITS
from sluice_core.names import STANDARD_LANE
from sluice_core.tenant import LimitsSpec, Tenant, TenantSpec
from sluice_local.embedded import EmbeddedStack
from sluice_local.ports import HOST

ALONE, OVER, WITHIN = "alone", "over", "within"
PHASES = {
    ALONE: "alone",
    OVER: "another at ten times its quota",
    WITHIN: "another within a large quota",
}
TIMES = 10
"""What one of them offers to its quota."""
LEAST_QUOTA = 200
"""Records a second; a thousand of what is offered are single records, and the rest are batches."""
RAMP_SECONDS = 0.2
BURST_SECONDS = 2.0
"""Of each phase: by then the flood's burst is accepted."""
MOST = 2.0


class Phase(msgspec.Struct):
    """One stretch of time and what the calm tenant saw in it."""

    name: str
    accepted: dict[int, float] = {}
    """From request to 202, by the record's number."""
    stored: dict[int, float] = {}
    """From request to stored."""
    flood: Result | None = None
    waiting: int = 0
    """Messages in the lane at its end."""


def job(port: int, key: str, per_second: int, batch: int) -> Job:
    """A thousand single records a second, and the rest in batches."""
    lines = make_lines(8_000)
    credential = {"Authorization": f"Bearer {key}"}
    encoder = msgspec.json.Encoder()
    singles = [
        request("/ingest", encoder.encode({"text": line}), {**credential, "Content-Type": "application/json"})
        for line in lines[:1_000]
    ]
    batches = [
        request(
            "/ingest",
            encoder.encode_lines([{"text": line} for line in lines[start : start + batch]]),
            {**credential, "Content-Type": "application/x-ndjson"},
        )
        for start in range(0, len(lines) - batch + 1, batch)
    ]
    rest = (per_second - 1_000) / batch
    return Job(HOST, port, [Stream(32, 1_000, 1, singles), Stream(16, rest, batch, batches)])


class Bench:
    """The running stack, the calm tenant's shipper, and the floods."""

    def __init__(self, stack: EmbeddedStack, sender: Sender, watch: Watch, floods: dict[str, Job]) -> None:
        self._stack = stack
        self._sender = sender
        self._watch = watch
        self._floods = floods

    async def phase(self, kind: str, number: int, seconds: float) -> Phase:
        await self._idle()
        found = Phase(kind)
        async with AsyncExitStack() as stack:
            if kind in self._floods:
                found.flood = await stack.enter_async_context(flooding(self._floods[kind]))
                await asyncio.sleep(RAMP_SECONDS)
            waiting = await self._steady(found, f"{kind}-{number}", seconds)
            found.waiting = await self._waiting()
        # What was taken is stored in the end, however long it took.
        await asyncio.gather(*waiting)
        return found

    async def _steady(self, found: Phase, stem: str, seconds: float) -> list[asyncio.Task[None]]:
        """The calm tenant at its pace for so long; returns what waits for its records to be stored."""

        async def one(number: int) -> None:
            log_id = f"{stem}-{number}"
            stored = self._watch.expect(log_id)
            sent = time.perf_counter()
            await self._sender.send(log_id)
            found.accepted[number] = time.perf_counter() - sent
            found.stored[number] = await asyncio.wait_for(stored, 300) - sent

        return [asyncio.create_task(one(number)) async for number in steadily(seconds)]

    async def _waiting(self) -> int:
        progress = await lane_progress(self._stack.rights.broker, STANDARD_LANE)
        return progress.last - progress.finished

    async def _idle(self) -> None:
        while await self._waiting():
            await asyncio.sleep(0.2)
        await asyncio.sleep(0.5)


async def run(kinds: Sequence[str], seconds: float, rounds: int, quota: int) -> list[list[Phase]]:
    limits = {WELL: LimitsSpec(), OVER: LimitsSpec(records_per_second=quota), WITHIN: LimitsSpec()}
    tenants = [Tenant("default", name, name, TenantSpec(limits=spec)) for name, spec in limits.items()]
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
        stack = EmbeddedStack(Path(folder), environ=dict(os.environ), tenants=tenants)
        async with stack:
            keys = {name: stack.endpoints.tenants[name].key for name in limits}
            floods = {
                OVER: job(stack.ingest.port, keys[OVER], TIMES * quota, 100),
                WITHIN: job(stack.ingest.port, keys[WITHIN], DEFAULT_LIMITS.records_per_second, 500),
            }
            sender = Sender(stack.ingest.port, keys[WELL])
            await sender.open()
            client = connect(stack.endpoints.mongodb)
            async with watching(client) as watch:
                bench = Bench(stack, sender, watch, floods)
                for kind in kinds:
                    await bench.phase(kind, -1, min(seconds, 2.0))  # first collections, first imports
                found = [[await bench.phase(kind, number, seconds) for kind in kinds] for number in range(rounds)]
            client.close()
    return found


def show(console: Console, kinds: Sequence[str], found: list[list[Phase]]) -> dict[str, list[float]]:
    """Prints the tables; returns for each kind how much slower than alone the medians of both p99s are."""
    ratios: dict[str, list[float]] = {}
    for title, times in (("request to 202", "accepted"), ("request to stored", "stored")):
        table = Table(title=f"{title}, of the tenant that is calm", title_justify="left")
        for column in ("phase", "p50", "p99, median of rounds", "to alone", "p99 of each round"):
            table.add_column(column, justify="left" if column == "phase" else "right")
        alone = 0.0
        for place, kind in enumerate(kinds):
            rounds: list[dict[int, float]] = [getattr(one[place], times) for one in found]
            p99 = _add_row(table, PHASES[kind], [list(one.values()) for one in rounds], alone)
            alone = alone or p99
            ratios.setdefault(kind, []).append(p99 / alone)
            if kind == OVER:
                later = [
                    [seconds for number, seconds in one.items() if number >= BURST_SECONDS * PER_SECOND]
                    for one in rounds
                ]
                _add_row(table, f"{PHASES[kind]}, after its burst came in", later, alone)
        console.print(table)
    for place, kind in enumerate(kinds):
        for number, one in enumerate(found):
            if (flood := one[place].flood) is not None:
                answers = ", ".join(f"{status}: {count:,}" for status, count in sorted(flood.records.items()))
                console.print(
                    f"round {number + 1}, {PHASES[kind]}: {flood.offered:,.0f} records/s offered,"
                    f" {flood.per_second('202'):,.0f} accepted ({answers}); {one[place].waiting:,} messages waited"
                )
    return ratios


def _add_row(table: Table, name: str, rounds: list[list[float]], alone: float) -> float:
    """Returns the median p99, which is compared with `alone`, or with itself where that is 0."""
    p99s = [quantile(one, 0.99) for one in rounds]
    p99 = median(p99s)
    table.add_row(
        name,
        f"{median(quantile(one, 0.5) for one in rounds) * 1000:.1f} ms",
        f"{p99 * 1000:.1f} ms",
        f"{p99 / (alone or p99):.2f}",
        ", ".join(f"{one * 1000:.0f}" for one in p99s) + " ms",
    )
    return p99


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.fairness", description=__doc__)
    parser.add_argument("floods", nargs="*", metavar="FLOOD", help=f"{OVER}, {WITHIN}; both if none is named")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of each phase")
    parser.add_argument("--rounds", type=int, default=5, help="how often each flood comes")
    parser.add_argument(
        "--quota",
        type=int,
        default=2_000,
        help=f"records a second of the tenant that offers {TIMES} times as many; from {LEAST_QUOTA} on",
    )
    options = parser.parse_args()
    if options.quota < LEAST_QUOTA:
        parser.error(f"--quota is at least {LEAST_QUOTA}: of what is offered a thousand a second are single records")
    if unknown := set(options.floods) - {OVER, WITHIN}:
        parser.error(f"there is no flood {', '.join(sorted(unknown))}; there are {OVER} and {WITHIN}")
    kinds = [ALONE, *(options.floods or [OVER, WITHIN])]
    found = asyncio.run(run(kinds, options.seconds, options.rounds, options.quota))
    ratios = show(Console(width=None if sys.stdout.isatty() else 160), kinds, found)
    judged = options.floods or [OVER]
    return 0 if all(ratio <= MOST for kind in judged for ratio in ratios[kind]) else 1


if __name__ == "__main__":
    sys.exit(main())
