"""`python -m bench [--seconds N] [FILE|DIR ...]`: measure, print a table, exit 0 when every ratio reaches its goal."""

import argparse
import asyncio
import os
import sys
import tempfile
from pathlib import Path

import msgspec
from rich.console import Console

from bench import accepting, redacting, storing
from bench.data import make_lines, read_lines
from bench.table import Row, show
from sluice_core.limits import MIB
from sluice_core.names import STANDARD_LANE
from sluice_core.tenant import LimitsSpec, Tenant, TenantSpec
from sluice_local.embedded import EmbeddedStack

TENANT = "bench"


async def run(lines: list[str], seconds: float, records: int, environ: dict[str, str]) -> list[Row]:
    # A quota would be what is measured.
    limits = LimitsSpec(
        records_per_second=10_000_000, bytes_per_second=10_240 * MIB, max_backlog_bytes=1024 * 1024 * MIB
    )
    tenant = Tenant("default", TENANT, TENANT, TenantSpec(limits=limits))
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
        stack = EmbeddedStack(Path(folder), environ=environ, tenants=[tenant], lanes_without_worker=[STANDARD_LANE])
        async with stack:
            key = stack.endpoints.tenants[TENANT].key
            rows = await accepting.measure(stack, key, lines, seconds)
            _, batches = accepting.make_batches(lines, key)
            await storing.fill(stack, batches, records // accepting.BATCH)
            rows += await storing.measure(stack, TENANT, records // accepting.BATCH * accepting.BATCH)
            rows += accepting.peak_memory(stack.endpoints.pids)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("paths", nargs="*", type=Path, help="log files or folders of them; invented lines if none")
    parser.add_argument("--seconds", type=float, default=6.0, help="length of each measurement")
    parser.add_argument("--records", type=int, default=100_000, help="backlog that the worker is given")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    lines = read_lines(options.paths) if options.paths else make_lines(16_000)
    rows = redacting.measure(lines)
    rows += asyncio.run(run(lines, options.seconds, options.records, dict(os.environ)))
    if options.json:
        print(msgspec.json.format(msgspec.json.encode(rows)).decode())
    else:
        show(rows, Console())
    return 0 if all(row.goal is None or (row.ratio or 0) >= row.goal for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
