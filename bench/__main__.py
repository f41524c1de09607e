"""Measure speed against ceilings of the same run; print a table and write bench/results.md.

Each figure is measured several times, right after its ceiling, and is told by its median and its spread. Exit code 0
when every ratio reaches its goal. Benches, all of them unless some are named:

  redact   lines redacted a second, against the same detectors run by Python's re
  accept   single-record durable POSTs, against a bare echo on the same server
  batches  NDJSON, against msgspec decoding the same bytes alone
  store    a worker on a backlog, against insert_many of the same documents
  latency  p50 and p99 of accepting, against offered load up to saturation
  drain    a backlog that shrinks while requests keep coming
  workers  1, 2 and 4 worker processes on one lane
  tenants  1, 100 and 1,000 tenants equally active in one lane
  fsync    accepting with the broker's flushes and without
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import msgspec
from rich.console import Console

from bench import accepting, flushing, latency, machine, memory, redacting, report, sharing, storing
from bench.data import make_lines, read_lines
from bench.figures import Figure
from bench.options import Options
from bench.stand import Stand, stand

ON_ONE_STAND: Mapping[str, Callable[[Stand, Options], Awaitable[list[Figure]]]] = {
    "accept": accepting.single_records,
    "batches": accepting.ndjson,
    "store": storing.worker,
    "latency": latency.latency,
    "drain": storing.backlog,
    "workers": storing.scaling,
}
ON_THEIR_OWN: Mapping[str, Callable[[Options], Awaitable[list[Figure]]]] = {
    "tenants": sharing.tenants,
    "fsync": flushing.flushing,
}
NAMES = ("redact", *ON_ONE_STAND, *ON_THEIR_OWN)
RESULTS = Path(__file__).with_name("results.md")


async def run(names: list[str], options: Options, console: Console) -> list[Figure]:
    figures: list[Figure] = []

    def take(found: list[Figure]) -> None:
        for figure in found:
            console.print(f"{figure.bench}: {figure.what}: {figure.value:,.1f} {figure.unit}  {figure.note}")
        figures.extend(found)

    if "redact" in names:
        take(redacting.measure(options))
    if wanted := [name for name in ON_ONE_STAND if name in names]:
        async with stand() as one:
            for name in wanted:
                take(await ON_ONE_STAND[name](one, options))
            take(memory.peaks(one.pids))
    for name in ON_THEIR_OWN:
        if name in names:
            take(await ON_THEIR_OWN[name](options))
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="BENCH", help=f"{', '.join(NAMES)}; all if none is named")
    parser.add_argument("--short", action="store_true", help="a few minutes: once, briefly, and 100 tenants at most")
    parser.add_argument(
        "--lines", type=Path, action="append", metavar="FILE|DIR", help="your own lines; invented ones without"
    )
    parser.add_argument("--repeats", type=int, help="how often each figure is measured (3)")
    parser.add_argument("--seconds", type=float, help="length of each measurement of accepting (4)")
    parser.add_argument("--tenants", type=int, nargs="+", metavar="N", help="how many share a lane (1 100 1000)")
    parser.add_argument("--records", type=int, help="backlog that workers are given (100,000)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table, and write no page")
    given = parser.parse_args()
    if unknown := set(given.names) - set(NAMES):
        parser.error(f"there is no bench {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    names = given.names or list(NAMES)
    options = Options(
        lines=read_lines(given.lines) if given.lines else make_lines(16_000),
        seconds=given.seconds or (2.0 if given.short else 4.0),
        records=given.records or (50_000 if given.short else 100_000),
        repeats=given.repeats or (1 if given.short else 3),
        tenants=given.tenants or ((1, 100) if given.short else (1, 100, 1000)),
        workers=(1, 2) if given.short else (1, 2, 4),
    )
    about = machine.describe(os.environ)
    console = Console(stderr=given.json, width=None if sys.stdout.isatty() else 200)
    figures = asyncio.run(run(names, options, console))
    if given.json:
        print(msgspec.json.format(msgspec.json.encode(figures)).decode())
    else:
        report.show(figures, console)
        about |= {
            "lines": f"{len(options.lines):,} {'given' if given.lines else 'invented'},"
            f" {sum(map(len, options.lines)) / len(options.lines):.0f} characters on average",
            "repeats": f"{options.repeats}, of {options.seconds:g} s or {options.records:,} records",
        }
        RESULTS.write_text(report.page(figures, about))
    return 0 if all(figure.reached for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
