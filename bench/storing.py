"""How fast a worker stores, against `insert_many` of the very same documents."""

import asyncio
import time
import urllib.request

from bench.table import Row
from sluice_core.edge.store import Client, connect
from sluice_core.names import LOGS_COLLECTION, STANDARD_LANE, tenant_database
from sluice_local.embedded import EmbeddedStack
from sluice_local.ports import HOST

_INSERT_BATCH = 1000
_INSERTERS = 4
"""With these two `insert_many` was fastest here; the ceiling gets the best of it."""


async def fill(stack: EmbeddedStack, requests: list[bytes], count: int) -> None:
    """Send `count` of the requests, going round them, over a few connections."""

    async def send(places: range) -> None:
        reader, writer = await asyncio.open_connection(HOST, stack.ingest.port)
        for place in places:
            writer.write(requests[place % len(requests)])
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 202"):
                raise RuntimeError(head.decode())
            length = int(next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))[16:])
            await reader.readexactly(length)
        writer.close()

    await asyncio.gather(*(send(range(start, count, 4)) for start in range(4)))


async def measure(stack: EmbeddedStack, tenant_id: str, records: int) -> list[Row]:
    """Start the lane's worker on a backlog of `records` and time it; then insert what it stored once more."""
    client = connect(stack.endpoints.mongodb)
    try:
        logs = client[tenant_database(tenant_id)][LOGS_COLLECTION]
        spent = await _drain(stack, client, tenant_id, records)
        documents = [document async for document in logs.find({}, limit=min(records, 60_000))]
        raw = await _insert_alone(client, documents)
        return [
            Row(
                "worker: backlog stored, 1 process",
                records / spent,
                "records/s",
                raw,
                "documents/s by insert_many",
                0.7,
                await asyncio.to_thread(_batch_sizes, stack),
            )
        ]
    finally:
        client.close()


async def _drain(stack: EmbeddedStack, client: Client, tenant_id: str, records: int) -> float:
    logs = client[tenant_database(tenant_id)][LOGS_COLLECTION]
    await stack.start_worker(STANDARD_LANE)
    while await logs.estimated_document_count() == 0:
        await asyncio.sleep(0.002)
    # From the first documents on: starting a process is not storing.
    first = await logs.estimated_document_count()
    start = time.perf_counter()
    while await logs.estimated_document_count() < records:
        await asyncio.sleep(0.02)
    return (time.perf_counter() - start) * records / (records - first)


async def _insert_alone(client: Client, documents: list[dict[str, object]]) -> float:
    database = client["bench_ceiling"]
    await database.drop_collection(LOGS_COLLECTION)
    collection = database[LOGS_COLLECTION]
    await collection.create_index("received_at", expireAfterSeconds=86_400)
    batches = [documents[start : start + _INSERT_BATCH] for start in range(0, len(documents), _INSERT_BATCH)]

    async def insert(own: list[list[dict[str, object]]]) -> None:
        for batch in own:
            await collection.insert_many(batch, ordered=False)

    start = time.perf_counter()
    await asyncio.gather(*(insert(batches[number::_INSERTERS]) for number in range(_INSERTERS)))
    rate = len(documents) / (time.perf_counter() - start)
    await client.drop_database("bench_ceiling")
    return rate


def _batch_sizes(stack: EmbeddedStack) -> str:
    with urllib.request.urlopen(stack.endpoints.metrics["worker-standard"]) as answer:  # noqa: S310 - loopback
        values = dict(line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if not line.startswith("#"))
    windows = float(values["sluice_worker_window_records_count"])
    return f"{float(values['sluice_worker_window_records_sum']) / max(windows, 1):,.0f} records a window"
