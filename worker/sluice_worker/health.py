"""Whether MongoDB as a whole takes writes, so that a fault can be told to be one tenant's or everybody's.

A call that failed is its tenant's trouble only if a primary was there from its beginning to its end; somebody looks
every second, since a call that times out may have begun long before. Invariant: without such a proof nobody is blamed.
"""

import asyncio
from collections.abc import Awaitable, Callable

LOOK_SECONDS = 1.0


class Health:
    """What was seen of MongoDB. `writable` asks it, bounded in time; clocks are the event loop's."""

    def __init__(self, writable: Callable[[], Awaitable[bool]]) -> None:
        self._writable = writable
        self._well_since: float | None = None
        self._away_at = float("-inf")
        """When it was last heard to be away: a look that was begun before that proves nothing."""

    async def watch(self) -> None:
        """Look every second until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> bool:
        """Whether it takes writes now."""
        asked = asyncio.get_running_loop().time()
        if not await self._writable():
            self.was_away()
            return False
        if self._well_since is None and asked >= self._away_at:
            self._well_since = asked
        return True

    def was_away(self) -> None:
        """Somebody's call was interrupted."""
        self._well_since = None
        self._away_at = asyncio.get_running_loop().time()

    async def well_since(self, moment: float) -> bool:
        """Whether it takes writes now and did at every look since `moment`, which some look was before."""
        return await self.look() and self._well_since is not None and self._well_since <= moment
