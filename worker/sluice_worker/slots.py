"""Places at the database: so many calls at once, and of one tenant so many.

Invariant: a tenant that waits for its own calls holds no place that another tenant could use.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class _Own:
    __slots__ = ("places", "users")

    def __init__(self, number: int) -> None:
        self.places = asyncio.Semaphore(number)
        self.users = 0


class Slots:
    """At most `number` in use, at most `per_tenant` of them by one tenant."""

    def __init__(self, number: int, per_tenant: int) -> None:
        self._per_tenant = per_tenant
        self._all = asyncio.Semaphore(number)
        self._own: dict[str, _Own] = {}

    @asynccontextmanager
    async def of(self, tenant_id: str) -> AsyncIterator[None]:
        """Wait for a place and keep it inside the context."""
        own = self._own.get(tenant_id)
        if own is None:
            own = self._own[tenant_id] = _Own(self._per_tenant)
        own.users += 1
        try:
            async with own.places, self._all:
                yield
        finally:
            own.users -= 1
            if own.users == 0:
                del self._own[tenant_id]
