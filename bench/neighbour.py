"""`python -m bench.neighbour`: what one tenant notices when another one's database takes no writes.

Two tenants share the standard lane and send at a steady pace. The neighbour's accept-to-store time is taken from just
before the request to the change stream's event, first while all is well, then while the other's database is unwritable
and its records park, then while they come back. Exit 0 when the second and third p99 stay below twice the first, and
everything parked came back.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import msgspec
from rich.console import Console
from rich.table import Table

from sluice_core.edge.letters import count_letters
from sluice_core.edge.store import Client, connect
from sluice_core.names import LOGS_COLLECTION, parked_subject, tenant_database
from sluice_core.tenant import LimitsSpec, Tenant, TenantSpec
from sluice_local.embedded import EmbeddedStack

SICK, WELL = "sick", "well"
PER_SECOND = 100
"""Single-record requests of each tenant."""
MOST = 2.0


class Phase(msgspec.Struct):
    """One stretch of time and what the neighbour saw in it."""

    name: str
    seconds: list[float] = []
    """From request to stored, of each of the neighbour's records."""
    parked: int = 0
    """Letters of the sick tenant at its end."""

    def quantile(self, q: float) -> float:
        ordered = sorted(self.seconds)
        return ordered[min(int(len(ordered) * q), len(ordered) - 1)]


class Watch:
    """When each of the neighbour's records was stored."""

    def __init__(self, client: Client) -> None:
        self._logs = client[tenant_database(WELL)][LOGS_COLLECTION]
        self._stored: dict[str, asyncio.Future[float]] = {}

    def expect(self, log_id: str) -> asyncio.Future[float]:
        return self._stored.setdefault(log_id, asyncio.get_running_loop().create_future())

    async def run(self, ready: asyncio.Event) -> None:
        async with self._logs.watch(
            [{"$match": {"operationType": "insert"}}, {"$project": {"documentKey": 1}}]
        ) as events:
            await events.try_next()
            ready.set()
            async for event in events:
                self.expect(event["documentKey"]["_id"]).set_result(time.perf_counter())


async def send(http: httpx.AsyncClient, stack: EmbeddedStack, tenant: str, log_id: str) -> None:
    key = stack.endpoints.tenants[tenant].key
    record = {"log_id": log_id, "text": f"a line of {tenant} from 10.1.2.3, number {log_id}"}
    while True:
        answer = await http.post(f"{stack.ingest.url}/ingest", json=record, headers={"Authorization": f"Bearer {key}"})
        if answer.status_code == 202:
            return
        if answer.status_code not in {429, 503}:
            raise RuntimeError(answer.text)
        await asyncio.sleep(float(answer.headers["retry-after"]))


async def phase(name: str, seconds: float, stack: EmbeddedStack, http: httpx.AsyncClient, watch: Watch) -> Phase:
    """Both tenants at their pace for so long."""
    found = Phase(name)

    async def one(number: int) -> None:
        log_id = f"{name}-{number}"
        stored = watch.expect(log_id)
        sent = time.perf_counter()
        await send(http, stack, WELL, log_id)
        found.seconds.append(await asyncio.wait_for(stored, 60) - sent)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(int(seconds * PER_SECOND)):
            await asyncio.sleep(max(0.0, began + number / PER_SECOND - time.perf_counter()))
            group.create_task(one(number))
            group.create_task(send(http, stack, SICK, f"{name}-{number}"))
    found.parked = (await count_letters(stack.rights.broker, parked_subject(SICK))).get(parked_subject(SICK), 0)
    return found


async def revoke(stack: EmbeddedStack) -> Callable[[], Awaitable[object]]:
    """The worker may no longer write there; returns the cure."""
    await stack.rights.provisioner.access.revoke_worker_privilege(SICK)
    return lambda: stack.rights.provisioner.access.ensure_worker_privilege(SICK)


async def run(seconds: float) -> tuple[list[Phase], int, int]:
    tenants = [
        Tenant("default", name, name, TenantSpec(limits=LimitsSpec(records_per_second=100_000)))
        for name in (SICK, WELL)
    ]
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
        stack = EmbeddedStack(Path(folder), environ=dict(os.environ), tenants=tenants)
        async with stack, stack.keeper.still(), httpx.AsyncClient(timeout=30) as http:
            client = connect(stack.endpoints.mongodb)
            watch = Watch(client)
            ready = asyncio.Event()
            watching = asyncio.create_task(watch.run(ready))
            await ready.wait()
            await phase("warm-up", min(seconds, 5), stack, http, watch)
            phases = [await phase("all is well", seconds, stack, http, watch)]
            cure = await revoke(stack)
            phases.append(await phase("unwritable", seconds, stack, http, watch))
            await cure()
            phases.append(await phase("coming back", seconds, stack, http, watch))
            logs = client[tenant_database(SICK)][LOGS_COLLECTION]
            wanted = int(min(seconds, 5) * PER_SECOND) + 3 * int(seconds * PER_SECOND)
            deadline = time.perf_counter() + 120
            while (stored := await logs.count_documents({})) < wanted and time.perf_counter() < deadline:
                await asyncio.sleep(0.2)
            watching.cancel()
            client.close()
    return phases, stored, wanted


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.neighbour", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each phase")
    phases, stored, wanted = asyncio.run(run(parser.parse_args().seconds))
    quiet = phases[0].quantile(0.99)
    table = Table(title="accept to store of the tenant that is well", title_justify="left")
    for column in ("the other tenant's database", "p50", "p99", "p99 / quiet p99", "letters parked at the end"):
        table.add_column(column, justify="left" if column.startswith("the") else "right")
    for one in phases:
        table.add_row(
            one.name,
            f"{one.quantile(0.5) * 1000:.1f} ms",
            f"{one.quantile(0.99) * 1000:.1f} ms",
            f"{one.quantile(0.99) / quiet:.2f}",
            str(one.parked),
        )
    console = Console()
    console.print(table)
    console.print(f"of the other tenant's {wanted} records {stored} are stored in the end")
    return 0 if stored == wanted and all(one.quantile(0.99) < MOST * quiet for one in phases) else 1


if __name__ == "__main__":
    sys.exit(main())
