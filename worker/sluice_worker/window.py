"""Pulling one window: how much is taken before work on it begins.

A window ends at 64 records for each tenant in it and 512 in all, at a byte limit, after 100 ms, or as soon as nothing
more waits at the broker: alone a record is stored at once, under load inserts grow and become cheaper. Invariant: a
message is in one window only, and everything pulled is in some window or given back.
"""

import asyncio
from typing import Protocol

from sluice_core.edge.pull import Delivery
from sluice_core.limits import MIB
from sluice_worker.handle import Message

RECORDS_PER_TENANT = 64
LEAST_RECORDS = 512
"""However few tenants: a write costs the database as much as thirty records do."""
LINGER_SECONDS = 0.1
IDLE_SECONDS = 1.0
PULL_BATCH = 256
SMALLEST_PULL_BYTES = 4 * MIB
"""At least the largest message, or the broker would answer that nothing fits."""


class Source(Protocol):
    """Where messages come from."""

    async def next(self, timeout: float, *, batch: int, max_bytes: int) -> Delivery | None:
        """The next message, None when none came in time."""
        ...


async def pull_window(source: Source, max_bytes: int, window: list[Message]) -> None:
    """Append the messages of the next window to `window`; none when none came for a while. Raises BrokerUnavailable."""
    loop = asyncio.get_running_loop()
    tenants: set[str] = set()
    records = size = 0
    wait = IDLE_SECONDS
    deadline = 0.0
    while True:
        room = max(max_bytes - size, SMALLEST_PULL_BYTES)
        delivery = await source.next(wait, batch=PULL_BATCH, max_bytes=room)
        if delivery is None:
            return
        message = Message(delivery)
        if not window:
            deadline = loop.time() + LINGER_SECONDS
        window.append(message)
        size += message.size
        records += message.unsettled
        if message.envelope is not None:
            tenants.update(submission.tenant_id for submission in message.envelope.submissions)
        enough = max(LEAST_RECORDS, RECORDS_PER_TENANT * len(tenants))
        if delivery.pending == 0 or size >= max_bytes or records >= enough:
            return
        wait = deadline - loop.time()
        if wait <= 0:
            return
