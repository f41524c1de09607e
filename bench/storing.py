"""How fast workers store, against `insert_many` of the same documents; how they scale, and how a backlog shrinks."""

import asyncio
import time
from typing import Any

from bench.accepting import BATCH, batches, singles
from bench.cpu import since, spent
from bench.figures import Collected, Figure
from bench.load import Job, run_in_process
from bench.options import Options
from bench.stand import Stand, empty_lane
from sluice_core.edge.store import Client, connect
from sluice_core.names import LOGS_COLLECTION, tenant_database
from sluice_local.ports import HOST

_INSERT_BATCH = 1000
_INSERTERS = 4
"""With these two `insert_many` was fastest here; the ceiling gets the best of it."""
_MOST_DOCUMENTS = 60_000
_LOOK_SECONDS = 0.02
_FILLERS = 32
_DRAIN_RATE = 1000.0
"""Single-record requests a second that keep coming while a backlog is worked off."""


async def fill(stand: Stand, requests: list[bytes], count: int) -> None:
    """Send `count` of the requests, going round them, over a few connections."""

    async def send(places: range) -> None:
        reader, writer = await asyncio.open_connection(HOST, stand.port)
        for place in places:
            writer.write(requests[place % len(requests)])
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 202"):
                raise RuntimeError(head.decode())
            length = int(next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))[16:])
            await reader.readexactly(length)
        writer.close()

    await asyncio.gather(*(send(range(start, count, _FILLERS)) for start in range(_FILLERS)))


async def drain(stand: Stand, workers: int = 1) -> tuple[float, dict[str, float]]:
    """Work off what waits; records a second, and microseconds of each process's time a record.

    The lane hands out nothing until all workers are ready: starting a process is not storing.
    """
    before = await stand.stored()
    await stand.hold(True)
    async with stand.workers(workers):
        used = spent(stand.pids)
        await stand.release()
        start = time.perf_counter()
        while await stand.waiting():
            await asyncio.sleep(_LOOK_SECONDS)
        seconds = time.perf_counter() - start
        records = await stand.stored() - before
        if not records:
            raise RuntimeError("nothing was stored")
        return records / seconds, {name: 1e6 * one / records for name, one in since(used, stand.pids).items()}


async def worker(stand: Stand, options: Options) -> list[Figure]:
    """One worker on a backlog; afterwards what it stored is inserted once more, by `insert_many` alone."""
    found = Collected("store")
    requests = batches(list(options.lines), stand.key)
    client = connect(stand.stack.endpoints.mongodb)
    try:
        for _ in range(options.repeats):
            await fill(stand, requests, options.records // BATCH)
            rate, costs = await drain(stand)
            logs = client[tenant_database(stand.names[0])][LOGS_COLLECTION]
            documents = [one async for one in logs.find({}, limit=min(options.records, _MOST_DOCUMENTS))]
            raw = await _insert_alone(client, documents)
            await logs.delete_many({})
            found.add(
                "worker: backlog stored, 1 process", rate, "records/s", ceiling=raw,
                ceiling_is="documents/s, insert_many alone", goal=0.7,
                note=f"{costs['worker-1']:.1f} us a record, database {costs['mongod']:.1f} us",
            )  # fmt: skip
    finally:
        client.close()
    return found.figures()


async def scaling(stand: Stand, options: Options) -> list[Figure]:
    """The same backlog for more processes on the lane, against one process."""
    found = Collected("workers")
    requests = batches(list(options.lines), stand.key)
    for _ in range(options.repeats):
        one = None
        for number in options.workers:
            await fill(stand, requests, options.records // BATCH)
            rate, costs = await drain(stand, number)
            one = one or rate
            worker_cost = sum(cost for name, cost in costs.items() if name.startswith("worker"))
            found.add(
                f"backlog stored, {number} processes" if number > 1 else "backlog stored, 1 process", rate,
                "records/s", ceiling=one, ceiling_is="records/s, 1 process",
                note=f"workers {worker_cost:.1f} us a record, database {costs['mongod']:.1f} us",
            )  # fmt: skip
    return found.figures()


async def backlog(stand: Stand, options: Options) -> list[Figure]:
    """A backlog shrinks while requests keep coming; against the same without them."""
    found = Collected("drain")
    lines = list(options.lines)
    requests = batches(lines, stand.key)
    coming = singles(lines, [stand.key])
    for _ in range(options.repeats):
        await fill(stand, requests, options.records // BATCH)
        quiet, _ = await drain(stand)
        await fill(stand, requests, options.records // BATCH)
        seconds = max(4.0, 2 * options.records / quiet)
        load = Job(HOST, stand.port, 64, seconds, 0.0, coming, _DRAIN_RATE)
        sending = asyncio.create_task(run_in_process(load))
        rate = await _shrink(stand)
        result = await sending
        found.add(
            f"backlog stored while {_DRAIN_RATE:,.0f} requests/s keep coming", rate, "records/s",
            ceiling=quiet, ceiling_is="records/s, nothing coming",
            note=f"accepting meanwhile: p50 {result.quantile(0.5) * 1000:.1f} ms,"
            f" p99 {result.quantile(0.99) * 1000:.1f} ms",
        )  # fmt: skip
        await empty_lane(stand)
    return found.figures()


async def _shrink(stand: Stand) -> float:
    """As `drain`, until no more waits than came just now."""
    before = await stand.stored()
    await stand.hold(True)
    async with stand.workers(1):
        await stand.release()
        start = time.perf_counter()
        while await stand.waiting() > _FEW_MESSAGES:
            await asyncio.sleep(_LOOK_SECONDS)
        return (await stand.stored() - before) / (time.perf_counter() - start)


_FEW_MESSAGES = 50


async def _insert_alone(client: Client, documents: list[dict[str, Any]]) -> float:
    database = client["bench_ceiling"]
    await database.drop_collection(LOGS_COLLECTION)
    collection = database[LOGS_COLLECTION]
    await collection.create_index("received_at", expireAfterSeconds=86_400)
    parts = [documents[start : start + _INSERT_BATCH] for start in range(0, len(documents), _INSERT_BATCH)]

    async def insert(own: list[list[dict[str, Any]]]) -> None:
        for batch in own:
            await collection.insert_many(batch, ordered=False)

    start = time.perf_counter()
    await asyncio.gather(*(insert(parts[number::_INSERTERS]) for number in range(_INSERTERS)))
    rate = len(documents) / (time.perf_counter() - start)
    await client.drop_database("bench_ceiling")
    return rate
