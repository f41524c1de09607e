"""What benchmarks run on: the embedded stack with tenants that no quota holds back.

Invariant: nothing here is faster than in production: brokers flush, writes wait for a majority, keys are checked.
"""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from sluice_core.limits import MIB
from sluice_core.names import STANDARD_LANE
from sluice_core.tenant import LimitsSpec, Tenant, TenantSpec
from sluice_local.embedded import EmbeddedStack

_LIMITS = LimitsSpec(records_per_second=10_000_000, bytes_per_second=10_240 * MIB, max_backlog_bytes=1024 * 1024 * MIB)
_AT_ONCE = 16


def tenant(tenant_id: str) -> Tenant:
    return Tenant("default", tenant_id, tenant_id, TenantSpec(limits=_LIMITS))


@asynccontextmanager
async def stand(environ: Mapping[str, str] | None = None) -> AsyncIterator[EmbeddedStack]:
    """A stack without tenants, and without a worker on the standard lane. `environ` goes to all its processes."""
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
        stack = EmbeddedStack(
            Path(folder), environ={**os.environ, **(environ or {})}, lanes_without_worker=[STANDARD_LANE]
        )
        async with stack:
            yield stack


async def add_tenants(stack: EmbeddedStack, names: list[str]) -> list[str]:
    """Make tenants; returns their keys, once ingest knows them."""
    places = asyncio.Semaphore(_AT_ONCE)

    async def add(name: str) -> None:
        async with places:
            await stack.rights.provisioner.apply(tenant(name))

    async with stack.keeper.still():
        await asyncio.gather(*(add(name) for name in names))
        await stack.rights.repair.run()  # seals the bucket for as many as there are now
    await asyncio.sleep(2.5)  # as long as ingest may take to have read them again
    secrets = (stack.rights.secrets.load(name) for name in names)
    return [next(iter(secret.keys.values())) for secret in secrets if secret is not None]


async def empty_lane(stack: EmbeddedStack) -> None:
    """Throw away what waits, or the lane fills up."""
    await stack.rights.broker.api(f"STREAM.PURGE.SLUICE_LANE_{STANDARD_LANE}")
    await asyncio.sleep(0.5)
