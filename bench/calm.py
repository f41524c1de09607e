"""A tenant that sends single records at a steady pace, and when each of them was stored.

What others do to it is what `bench.neighbour` and `bench.fairness` measure.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from bench.load import request
from sluice_core.edge.store import Client
from sluice_core.names import LOGS_COLLECTION, tenant_database
from sluice_local.ports import HOST

WELL = "well"
"""Its id."""
PER_SECOND = 100
"""Single-record requests."""
CONNECTIONS = 16


class Watch:
    """When each of its records was stored."""

    def __init__(self, client: Client) -> None:
        self._logs = client[tenant_database(WELL)][LOGS_COLLECTION]
        self._stored: dict[str, asyncio.Future[float]] = {}

    def expect(self, log_id: str) -> asyncio.Future[float]:
        return self._stored.setdefault(log_id, asyncio.get_running_loop().create_future())

    async def run(self, ready: asyncio.Event) -> None:
        async with self._logs.watch(
            [{"$match": {"operationType": "insert"}}, {"$project": {"documentKey": 1}}]
        ) as events:
            await events.try_next()
            ready.set()
            async for event in events:
                self.expect(event["documentKey"]["_id"]).set_result(time.perf_counter())


class Sender:
    """A shipper: a few connections that are kept, since opening them is not what is measured."""

    def __init__(self, port: int, key: str) -> None:
        self._port = port
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._idle: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()

    async def open(self) -> None:
        for _ in range(CONNECTIONS):
            self._idle.put_nowait(await asyncio.open_connection(HOST, self._port))

    async def send(self, log_id: str) -> None:
        """Returns when it is accepted."""
        record = {"log_id": log_id, "text": f"a line from 10.1.2.3, number {log_id}"}
        message = request("/ingest", msgspec.json.encode(record), self._headers)
        while (wait := await self._exchange(message)) is not None:
            await asyncio.sleep(wait)

    async def _exchange(self, message: bytes) -> float | None:
        """Seconds to wait before the next attempt, None when it was accepted."""
        reader, writer = await self._idle.get()
        writer.write(message)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
        body = await reader.readexactly(int(fields["content-length"]))
        self._idle.put_nowait((reader, writer))
        if head.startswith("http/1.1 202"):
            return None
        if "retry-after" not in fields:
            raise RuntimeError(body.decode())
        return float(fields["retry-after"])


@asynccontextmanager
async def watching(client: Client) -> AsyncIterator[Watch]:
    """A watch that has begun to look."""
    watch = Watch(client)
    ready = asyncio.Event()
    task = asyncio.create_task(watch.run(ready))
    await ready.wait()
    try:
        yield watch
    finally:
        task.cancel()


async def steadily(seconds: float) -> AsyncIterator[int]:
    """Numbers from 0, `PER_SECOND` of them a second, for so long and however long is taken for each."""
    began = time.perf_counter()
    for number in range(int(seconds * PER_SECOND)):
        await asyncio.sleep(max(0.0, began + number / PER_SECOND - time.perf_counter()))
        yield number
