"""One tenant's batch and the database: written, waited with, discarded, or refused.

Which of these is decided by who has the trouble. MongoDB as a whole being away is waited out; one tenant's database
refusing is not, since others would wait with it. Invariant: a circuit opens only when MongoDB took writes all the
while or said no itself, and `TENANT_UNKNOWN` is an outcome only when a fresh look found the tenant gone.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from sluice_core.errors import AccessDenied, StoreInterrupted, StoreRefused, StoreUnavailable
from sluice_core.reasons import TENANT_UNKNOWN
from sluice_core.tenant import TenantConfig
from sluice_worker import metrics
from sluice_worker.circuit import Circuits
from sluice_worker.documents import Prepared
from sluice_worker.health import Health
from sluice_worker.patience import pauses
from sluice_worker.sink import Outcome, Store, write

log = logging.getLogger(__name__)

CONFIRM_SECONDS = 5.0


class View(Protocol):
    """What the worker asks of the tenants view."""

    def tenant(self, tenant_id: str) -> TenantConfig | None:
        """By id."""
        ...

    async def confirm(self, timeout: float) -> bool:
        """Wait for a complete re-read."""
        ...


class TenantWriter:
    """Writes batches and keeps the tenants' circuits."""

    def __init__(self, store: Store, view: View, health: Health, circuits: Circuits) -> None:
        self._store = store
        self._view = view
        self._health = health
        self._circuits = circuits

    async def write(self, tenant_id: str, batch: Sequence[Prepared]) -> list[Outcome] | None:
        """Write records of one provisioning of a tenant; writing them again later is safe.

        None: the database does not take them now, and the tenant's circuit, which is open, says why.
        """
        clock = asyncio.get_running_loop().time
        for pause in pauses():
            begun = clock()
            try:
                outcomes = await write(self._store, tenant_id, batch)
            except StoreUnavailable as error:
                if isinstance(error, AccessDenied):
                    # Read again: the privilege goes before the tombstone comes.
                    sure = await self._view.confirm(CONFIRM_SECONDS)
                    if sure and self._is_gone(tenant_id, batch):
                        return [Outcome(one, TENANT_UNKNOWN) for one in batch]
                    theirs = sure
                elif isinstance(error, StoreInterrupted):
                    self._health.was_away()
                    theirs = False
                elif isinstance(error, StoreRefused):
                    theirs = await self._health.look()
                else:
                    theirs = await self._health.well_since(begun)
                if theirs:
                    self._refuse(tenant_id, clock(), error)
                    return None
                metrics.RETRIES.labels("database").inc()
                log.warning("trying again", extra={"target": "database", "error": str(error), "pause_seconds": pause})
            else:
                if self._circuits.succeeded(tenant_id):
                    metrics.CIRCUITS_OPEN.set(len(self._circuits))
                    log.info("a tenant's database takes records again", extra={"tenant": tenant_id})
                return outcomes
            await asyncio.sleep(pause)
        raise AssertionError("pauses end")  # pragma: no cover - they do not

    def _is_gone(self, tenant_id: str, batch: Sequence[Prepared]) -> bool:
        config = self._view.tenant(tenant_id)
        return config is None or config.state == "gone" or config.uid != batch[0].item.submission.uid

    def _refuse(self, tenant_id: str, now: float, error: StoreUnavailable) -> None:
        detail = str(error) if isinstance(error, StoreRefused) else type(error).__name__
        if self._circuits.refused(tenant_id, now, detail):
            metrics.CIRCUITS_OPEN.set(len(self._circuits))
            log.error("a tenant's database refuses its records", extra={"tenant": tenant_id, "detail": detail})
