"""Waiting for what another process does."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

Value = TypeVar("Value")


async def eventually(attempt: Callable[[], Awaitable[Value]], *, within: float, pause: float = 0.02) -> Value:
    """The first result of `attempt` that is true. Fails after `within` seconds, a generous bound."""
    deadline = time.monotonic() + within
    while True:
        result = await attempt()
        if result:
            return result
        assert time.monotonic() < deadline, f"it did not come true within {within:g} s"
        await asyncio.sleep(pause)
