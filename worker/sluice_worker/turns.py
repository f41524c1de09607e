"""What waits for its tenant's turn, put together while it waits.

Each write costs the database as much as dozens of records, whoever's it is. So what comes while a tenant waits for a
place joins what waits there already: the busier the database, the larger and cheaper its writes, however many tenants
share the lane; and where nothing waits, nothing is held up. Invariant: what has begun is joined by nothing more, and
whoever handed records in goes on only when their turn is over.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from sluice_worker.handle import Item

MOST_RECORDS = 1024
"""More together gain nothing (facts of MongoDB 6.0), and would keep the event loop from others for too long."""

Key = TypeVar("Key")


class Turns(Generic[Key]):
    """The turns that have not begun, by whose they are: at most one each that is not full."""

    def __init__(self, on_failed: Callable[[list[Item]], None]) -> None:
        """`on_failed` is called with all records of a turn that raised: others than who learns of it handed some in."""
        self._on_failed = on_failed
        self._waiting: dict[Key, _Turn] = {}

    async def take(self, key: Key, batch: list[Item], store: Callable[["Begin"], Awaitable[None]]) -> None:
        """Have records stored, by the turn that waits or by one of their own.

        `store` waits for whatever it has to wait for, and then calls what it is given for the records.
        """
        turn = self._waiting.get(key)
        if turn is not None and len(turn.items) + len(batch) <= MOST_RECORDS:
            turn.items += batch
            await turn.over.wait()
            return
        turn = self._waiting[key] = _Turn(list(batch))

        def begin() -> list[Item]:
            if self._waiting.get(key) is turn:
                del self._waiting[key]
            return turn.items

        try:
            await store(begin)
        except Exception:
            self._on_failed(turn.items)
            raise
        finally:
            begin()
            turn.over.set()


Begin = Callable[[], list[Item]]
"""Begins a turn; returns all its records."""


class _Turn:
    __slots__ = ("items", "over")

    def __init__(self, items: list[Item]) -> None:
        self.items = items
        self.over = asyncio.Event()
