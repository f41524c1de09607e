"""`python -m bench.neighbour`: what one tenant notices when another one's database takes no writes.

Two tenants share the standard lane and send at a steady pace. The neighbour's accept-to-store time is taken from just
before the request to the change stream's event: while all is well, while the other's database is unwritable and its
records park, and while they come back, in several rounds, since one stall of a disk decides a p99. Exit 0 when the
medians of the second and third p99 stay below twice that of the first, and everything parked came back.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from statistics import median

import msgspec
from rich.console import Console
from rich.table import Table

from bench.calm import PER_SECOND, WELL, Sender, Watch, steadily, watching
from bench.quantiles import quantile
from sluice_core.edge.letters import count_letters
from sluice_core.edge.store import connect
from sluice_core.names import LOGS_COLLECTION, parked_subject, tenant_database
from sluice_core.tenant import LimitsSpec, Tenant, TenantSpec
from sluice_local.embedded import EmbeddedStack

SICK = "sick"
PHASES = ("all is well", "unwritable", "coming back")
MOST = 2.0


class Phase(msgspec.Struct):
    """One stretch of time and what the neighbour saw in it."""

    name: str
    seconds: list[float] = []
    """From request to stored, of each of the neighbour's records."""
    parked: int = 0
    """Letters of the sick tenant at its end."""

    def quantile(self, q: float) -> float:
        return quantile(self.seconds, q)


async def phase(name: str, seconds: float, stack: EmbeddedStack, senders: Mapping[str, Sender], watch: Watch) -> Phase:
    """Both tenants at their pace for so long."""
    found = Phase(name)

    async def one(number: int) -> None:
        log_id = f"{name}-{number}"
        stored = watch.expect(log_id)
        sent = time.perf_counter()
        await senders[WELL].send(log_id)
        found.seconds.append(await asyncio.wait_for(stored, 60) - sent)

    async with asyncio.TaskGroup() as group:
        async for number in steadily(seconds):
            group.create_task(one(number))
            group.create_task(senders[SICK].send(f"{name}-{number}"))
    found.parked = (await count_letters(stack.rights.broker, parked_subject(SICK))).get(parked_subject(SICK), 0)
    return found


async def revoke(stack: EmbeddedStack) -> Callable[[], Awaitable[object]]:
    """The worker may no longer write there; returns the cure."""
    await stack.rights.provisioner.access.revoke_worker_privilege(SICK)
    return lambda: stack.rights.provisioner.access.ensure_worker_privilege(SICK)


async def run(seconds: float, rounds: int) -> tuple[list[list[Phase]], int, int]:
    tenants = [
        Tenant("default", name, name, TenantSpec(limits=LimitsSpec(records_per_second=100_000)))
        for name in (SICK, WELL)
    ]
    found: list[list[Phase]] = []
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
        stack = EmbeddedStack(Path(folder), environ=dict(os.environ), tenants=tenants)
        async with stack, stack.keeper.still():
            senders = {name: Sender(stack.ingest.port, stack.endpoints.tenants[name].key) for name in (SICK, WELL)}
            for sender in senders.values():
                await sender.open()
            client = connect(stack.endpoints.mongodb)
            logs = client[tenant_database(SICK)][LOGS_COLLECTION]
            async with watching(client) as watch:
                await phase("warm-up", seconds, stack, senders, watch)
                for number in range(rounds):
                    phases = [await phase(f"{PHASES[0]} {number}", seconds, stack, senders, watch)]
                    cure = await revoke(stack)
                    phases.append(await phase(f"{PHASES[1]} {number}", seconds, stack, senders, watch))
                    await cure()
                    phases.append(await phase(f"{PHASES[2]} {number}", seconds, stack, senders, watch))
                    wanted = (1 + 3 * (number + 1)) * int(seconds * PER_SECOND)
                    deadline = time.perf_counter() + 120
                    while (stored := await logs.count_documents({})) < wanted and time.perf_counter() < deadline:
                        await asyncio.sleep(0.2)
                    found.append(phases)
            client.close()
    return found, stored, wanted


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.neighbour", description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="length of each phase")
    parser.add_argument("--rounds", type=int, default=5, help="how often the other tenant falls ill")
    options = parser.parse_args()
    found, stored, wanted = asyncio.run(run(options.seconds, options.rounds))
    table = Table(title="accept to store of the tenant that is well", title_justify="left")
    for column in ("the other's database", "p50", "p99, median of rounds", "least to most", "to quiet", "parked"):
        table.add_column(column, justify="left" if column.startswith("the") else "right")
    quiet = median(one[0].quantile(0.99) for one in found)
    ratios = []
    for place, name in enumerate(PHASES):
        phases = [one[place] for one in found]
        worst = sorted(one.quantile(0.99) for one in phases)
        ratios.append(median(worst) / quiet)
        table.add_row(
            name,
            f"{median(one.quantile(0.5) for one in phases) * 1000:.1f} ms",
            f"{median(worst) * 1000:.1f} ms",
            f"{worst[0] * 1000:.0f} to {worst[-1] * 1000:.0f} ms",
            f"{ratios[-1]:.2f}",
            f"{median(one.parked for one in phases):.0f} letters",
        )
    console = Console()
    console.print(table)
    console.print(f"of the other tenant's {wanted} records {stored} are stored in the end")
    return 0 if stored == wanted and max(ratios) < MOST else 1


if __name__ == "__main__":
    sys.exit(main())
