"""Ending tasks that would go on for ever.

`asyncio.wait_for` of Python 3.11 forgets a cancellation that comes together with its result, and libraries use it. One
`cancel()` may therefore be lost, and whoever waits for that task waits for ever. Invariant: when `end` returns, the
tasks have ended.
"""

import asyncio
from typing import Any

AGAIN_SECONDS = 1.0


async def end(*tasks: asyncio.Task[Any], again: float = AGAIN_SECONDS) -> None:
    """Cancel tasks, and again every `again` seconds, until all have ended; what they ended with is theirs to say."""
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=again)
