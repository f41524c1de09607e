"""What benchmarks run on: the embedded stack with tenants that no quota holds back.

Invariant: nothing here is faster than in production: brokers flush, writes wait for a majority, keys are checked.
"""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sluice_core.edge.store import connect
from sluice_core.limits import MIB
from sluice_core.names import LOGS_COLLECTION, STANDARD_LANE, WORKERS, lane_stream, tenant_database
from sluice_core.tenant import LimitsSpec, Tenant, TenantSpec
from sluice_local.embedded import EmbeddedStack
from sluice_local.part import worker_part
from sluice_local.ports import free_port

_LIMITS = LimitsSpec(records_per_second=10_000_000, bytes_per_second=10_240 * MIB, max_backlog_bytes=1024 * 1024 * MIB)
_AT_ONCE = 16
_SEEN_SECONDS = 2.5
"""As long as ingest may take to have read new tenants."""


class Stand:
    """A stack and its tenants."""

    def __init__(self, stack: EmbeddedStack, names: list[str], keys: list[str]) -> None:
        self.stack = stack
        self.names = names
        self.keys = keys
        self.port = stack.ingest.port
        self.pids = {
            server.name: server.ready_pid for server in (stack.servers.nats, stack.servers.mongod, stack.ingest)
        }
        """Of the servers and ingest, and of workers as long as they run."""

    @property
    def key(self) -> str:
        """Of the first tenant."""
        return self.keys[0]

    async def stored(self) -> int:
        """Documents of all tenants."""
        client = connect(self.stack.endpoints.mongodb)
        try:
            logs = (client[tenant_database(name)][LOGS_COLLECTION] for name in self.names)
            return sum(await asyncio.gather(*(one.estimated_document_count() for one in logs)))
        finally:
            client.close()

    @asynccontextmanager
    async def workers(self, number: int) -> AsyncIterator[None]:
        """So many worker processes on the lane, ready."""
        stack = self.stack
        ports, secrets = stack.servers.ports, stack.servers.credentials
        async with AsyncExitStack() as running:
            for place in range(1, number + 1):
                worker = worker_part(stack.data_dir, free_port(), os.environ, secrets, ports, lane=STANDARD_LANE)
                worker.name = f"worker-{place}"
                running.push_async_callback(worker.stop)
                await worker.start()
                self.pids[worker.name] = worker.ready_pid
                running.callback(self.pids.pop, worker.name)
            yield

    async def hold(self, held: bool) -> None:
        """While it is held the lane hands out nothing."""
        until = datetime.now(UTC) + timedelta(hours=1 if held else -1)
        await self.stack.rights.broker.api(
            f"CONSUMER.PAUSE.{lane_stream(STANDARD_LANE)}.{WORKERS}", {"pause_until": until.isoformat()}
        )

    async def release(self) -> None:
        """Hold it no longer; returns when the first message has been handed out.

        A request of a worker that the broker got while the lane was held wakes nobody up; its next one, after up to two
        seconds, does.
        """
        before = await self._handed_out()
        await self.hold(False)
        while await self._handed_out() == before:
            await asyncio.sleep(0.001)

    async def _handed_out(self) -> int:
        info = await self.stack.rights.broker.api(f"CONSUMER.INFO.{lane_stream(STANDARD_LANE)}.{WORKERS}")
        return int(info["delivered"]["consumer_seq"])

    async def waiting(self) -> int:
        """Messages in the lane."""
        info = await self.stack.rights.broker.api(f"STREAM.INFO.{lane_stream(STANDARD_LANE)}")
        return int(info["state"]["messages"])


@asynccontextmanager
async def stand(tenants: int = 1, environ: Mapping[str, str] | None = None) -> AsyncIterator[Stand]:
    """A stack with so many tenants, and no worker on the standard lane. `environ` goes to all its processes."""
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
        stack = EmbeddedStack(
            Path(folder), environ={**os.environ, **(environ or {})}, lanes_without_worker=[STANDARD_LANE]
        )
        async with stack:
            names = [f"bench{number:04}" for number in range(tenants)]
            yield Stand(stack, names, await _add_tenants(stack, names))


async def empty_lane(stand: Stand) -> None:
    """Throw away what waits, or the lane fills up."""
    await stand.stack.rights.broker.api(f"STREAM.PURGE.{lane_stream(STANDARD_LANE)}")
    await asyncio.sleep(0.5)


async def _add_tenants(stack: EmbeddedStack, names: list[str]) -> list[str]:
    places = asyncio.Semaphore(_AT_ONCE)

    async def add(name: str) -> None:
        async with places:
            await stack.rights.provisioner.apply(Tenant("default", name, name, TenantSpec(limits=_LIMITS)))

    async with stack.keeper.still():
        await asyncio.gather(*(add(name) for name in names))
        await stack.rights.repair.run()  # seals the bucket for as many as there are now
    await asyncio.sleep(_SEEN_SECONDS)
    secrets = (stack.rights.secrets.load(name) for name in names)
    return [next(iter(secret.keys.values())) for secret in secrets if secret is not None]
