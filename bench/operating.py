"""`make bench-operator`: so many Tenants at once, on a real API server; a table of time and memory by their number.

Each number has a broker, a database, a namespace and an operator of its own. Time per tenant should not grow with their
number, and an operator that is started again with all of them there writes nothing.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
import yaml
from rich.console import Console
from rich.table import Table

from sluice_operator.kube.kinds import TENANT
from support.cluster import CRD, Cluster, find_binaries, keda_crd, running_cluster
from support.operating import Rig, rig
from support.operator_part import OperatorPart

_AT_ONCE = 32
_LONGEST_SECONDS = 600.0


class Result(NamedTuple):
    """What so many Tenants took."""

    tenants: int
    applied_seconds: float
    """Until the API server had taken them all."""
    ready_seconds: float
    """From the first that was applied until the last was Ready."""
    cpu_each: float
    """Seconds of CPU that the operator took for each until then, its own start left out."""
    database_cpu_each: float
    """Of mongod, which hashes each reader's password many thousand times."""
    writes_each: float
    """To the API server, by the operator, kopf's own among them."""
    peak_bytes: int
    restart_seconds: float
    """Until the new operator had looked at each."""
    restart_writes: int
    restart_bytes: int
    deleted_seconds: float
    """All at once, policy Retain, nothing waiting."""


async def measure(cluster: Cluster, folder: Path, count: int) -> Result:
    namespace = f"bench-{count}"
    async with rig(cluster, folder, namespace, release=f"sluice-bench-{count}") as made:
        quiet = {"drift_seconds": "45", "counts_seconds": "15"}
        async with made.operating(**quiet) as part:
            made.part = part
            before = len(cluster.audited())
            database = made.servers.mongod.process.pid
            cpu, database_cpu = _cpu(part.process.pid), _cpu(database)
            started = time.monotonic()
            free = asyncio.Semaphore(_AT_ONCE)

            async def apply(number: int) -> None:
                async with free:
                    await made.kube.create(TENANT, made.manifest(f"tenant-{count}-{number}"))

            await asyncio.gather(*map(apply, range(count)))
            applied = time.monotonic() - started
            await _until(lambda: _ready(made, namespace, count))
            ready = time.monotonic() - started
            cpu, database_cpu = _cpu(part.process.pid) - cpu, _cpu(database) - database_cpu
            await asyncio.sleep(6)  # kopf's marks, Events and the keeper's seal come after
            writes = len(cluster.written(since=before)) / count
            peak = _peak(part)
        first = len(cluster.audited())
        async with made.operating(**quiet) as part:
            made.part = part
            started = time.monotonic()
            await _until(lambda: _looked(made, count))
            restart = time.monotonic() - started
            await asyncio.sleep(6)
            restart_writes = cluster.written(since=first)
            restart_peak = _peak(part)
            started = time.monotonic()
            path = TENANT.path(namespace)
            await made.kube.call("DELETE", path)
            await _until(lambda: _none_left(made, namespace))
            deleted = time.monotonic() - started
    return Result(
        tenants=count,
        applied_seconds=applied,
        ready_seconds=ready,
        cpu_each=cpu / count,
        database_cpu_each=database_cpu / count,
        writes_each=writes,
        peak_bytes=peak,
        restart_seconds=restart,
        restart_writes=len(restart_writes),
        restart_bytes=restart_peak,
        deleted_seconds=deleted,
    )


async def _until(is_so: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + _LONGEST_SECONDS
    while not await is_so():
        if time.monotonic() > deadline:
            raise TimeoutError("the tenants did not get there")
        await asyncio.sleep(0.5)


async def _ready(made: Rig, namespace: str, count: int) -> bool:
    tenants = await made.kube.list(TENANT, namespace)
    conditions = [one for tenant in tenants for one in (tenant.get("status") or {}).get("conditions") or []]
    return bool(sum(one["type"] == "Ready" and one["status"] == "True" for one in conditions) == count)


async def _looked(made: Rig, count: int) -> bool:
    return await made.looks() >= count


async def _none_left(made: Rig, namespace: str) -> bool:
    return not await made.kube.list(TENANT, namespace)


def _cpu(pid: int) -> float:
    """Seconds of CPU that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak(part: OperatorPart) -> int:
    """Most resident bytes the process ever had."""
    for line in Path(f"/proc/{part.process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


async def run(counts: list[int]) -> list[Result]:
    with tempfile.TemporaryDirectory(prefix="sluice-bench-operator-") as name:
        folder = Path(name)
        (folder / "cluster").mkdir()
        async with running_cluster(folder / "cluster") as cluster:
            scaled_objects = keda_crd()
            assert scaled_objects is not None
            await cluster.install(yaml.safe_load(CRD.read_text()), scaled_objects)
            return [await measure(cluster, folder / str(count), count) for count in counts]


def show(results: list[Result], console: Console) -> None:
    table = Table(title="The operator, measured now on this machine", title_justify="left")
    for column in (
        "tenants",
        "all applied",
        "all Ready",
        "each",
        "its CPU each",
        "mongod's",
        "API writes each",
        "peak memory",
        "restart",
        "its writes",
        "its memory",
        "all deleted",
    ):
        table.add_column(column, justify="right")
    for one in results:
        table.add_row(
            str(one.tenants),
            f"{one.applied_seconds:.1f} s",
            f"{one.ready_seconds:.1f} s",
            f"{1000 * one.ready_seconds / one.tenants:.0f} ms",
            f"{1000 * one.cpu_each:.0f} ms",
            f"{1000 * one.database_cpu_each:.0f} ms",
            f"{one.writes_each:.2f}",
            f"{one.peak_bytes / 2**20:.0f} MiB",
            f"{one.restart_seconds:.1f} s",
            str(one.restart_writes),
            f"{one.restart_bytes / 2**20:.0f} MiB",
            f"{one.deleted_seconds:.1f} s",
        )
    console.print(table)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.operating", description=__doc__)
    parser.add_argument("counts", nargs="*", type=int, default=[100, 250, 500], help="numbers of Tenants")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    if find_binaries() is None or keda_crd() is None:
        sys.stderr.write("there is no API server to be had: see docs/operator.md, Tests\n")
        return 2
    results = asyncio.run(run(options.counts))
    if options.json:
        print(msgspec.json.format(msgspec.json.encode(results)).decode())
    else:
        show(results, Console(width=140))
    return 0 if all(one.restart_writes == 0 for one in results) else 1


if __name__ == "__main__":
    sys.exit(main())
