"""Repairs what provisioning made, for as long as the platform runs.

A broker that came back empty, a stream that somebody deleted, an entry that somebody wrote: within seconds all of it is
as the registry says, and nothing needs a restart. Invariants: it waits while the broker or the database is away, and
says so once; what it does, it says in one line each.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from sluice_core.edge.broker import Broker
from sluice_core.edge.repair import Mended, Repair
from sluice_core.errors import SluiceError

log = logging.getLogger(__name__)

KEEP_SECONDS = 5.0
_RETRY_SECONDS = 1.0
_LOOK_SECONDS = 0.25
"""As long as the broker's client waits between two attempts to reconnect."""


class Keeper:
    """Runs the repair every `KEEP_SECONDS`, and at once after the broker came back."""

    def __init__(
        self,
        broker: Broker,
        repair: Repair,
        lock: asyncio.Lock,
        on_mended: Callable[[Mended], None] = lambda _: None,
    ) -> None:
        """`lock` is held during a round, and by whatever else provisions in this process."""
        self._on_mended = on_mended
        self._broker = broker
        self._repair = repair
        self._lock = lock
        self._held_still = 0
        self._waiting = False

    async def run(self) -> None:
        """Keep until cancelled."""
        while True:
            reconnects = self._broker.reconnects
            await self.once()
            loop = asyncio.get_running_loop()
            deadline = loop.time() + (_RETRY_SECONDS if self._waiting else KEEP_SECONDS)
            while loop.time() < deadline and self._broker.reconnects == reconnects:
                await asyncio.sleep(_LOOK_SECONDS)

    @asynccontextmanager
    async def still(self) -> AsyncIterator[None]:
        """Inside, nothing is repaired: for who changes by hand what would be changed back."""
        async with self._lock:
            self._held_still += 1
        try:
            yield
        finally:
            self._held_still -= 1

    async def once(self) -> None:
        """One round, now."""
        async with self._lock:
            if self._held_still:
                return
            try:
                await self._repair.run(self._say)
            except SluiceError as error:
                if not self._waiting:
                    log.warning("repairs have to wait", extra={"error": str(error)})
                self._waiting = True
            except Exception:  # a bug, and no reason to stop repairing
                log.exception("a round of repairs failed")
            else:
                if self._waiting:
                    log.info("repairs go on")
                self._waiting = False

    def _say(self, mended: Mended) -> None:
        log.warning(mended.sentence)
        self._on_mended(mended)
