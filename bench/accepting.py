"""How fast ingest accepts, durably, against a bare echo and against decoding alone."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from bench.cpu import since, spent
from bench.figures import Collected, Figure
from bench.load import Job, Result, request, run_in_process
from bench.options import Options
from bench.stand import Stand, empty_lane
from sluice_ingest.drafts import Draft
from sluice_local.ports import HOST, free_port
from sluice_local.probes import accepts_connections

CONNECTIONS = 64
BATCH = 1000
BATCH_CONNECTIONS = 8
_SINGLES = 2000
_BATCHES = 32


def singles(lines: list[str], keys: list[str], count: int = _SINGLES) -> list[bytes]:
    """Requests of one record each, the keys' holders in turn."""
    return [
        request("/ingest", msgspec.json.encode({"text": lines[number % len(lines)]}), _headers(keys, number, "json"))
        for number in range(count)
    ]


def bodies(lines: list[str]) -> list[bytes]:
    """Batches of NDJSON."""
    encoder = msgspec.json.Encoder()
    return [
        encoder.encode_lines([{"text": line} for line in lines[start : start + BATCH]])
        for start in range(0, len(lines) - BATCH + 1, BATCH)
    ][:_BATCHES]


def batches(lines: list[str], key: str) -> list[bytes]:
    """Requests with them."""
    return [request("/ingest", body, _headers([key], 0, "x-ndjson")) for body in bodies(lines)]


def job(port: int, requests: list[bytes], seconds: float, connections: int = CONNECTIONS) -> Job:
    return Job(HOST, port, connections, seconds, min(1.0, seconds / 4), requests)


async def measured(stand: Stand, load: Job) -> tuple[Result, dict[str, float]]:
    """The result, and microseconds of each process's time an answer."""
    before = spent(stand.pids)
    result = await run_in_process(load)
    answers = result.per_second() * (load.seconds + load.warmup)
    return result, {name: 1e6 * seconds / max(answers, 1) for name, seconds in since(before, stand.pids).items()}


async def single_records(stand: Stand, options: Options) -> list[Figure]:
    """Single-record POSTs over 64 connections, and over one; the echo right before."""
    found = Collected("accept")
    requests = singles(list(options.lines), [stand.key])
    async with _echo() as (port, pid):
        for _ in range(options.repeats):
            before = spent({"echo": pid})
            echo = await run_in_process(load := job(port, requests, options.seconds))
            echoing = 1e6 * since(before, {"echo": pid})["echo"] / (echo.per_second() * (load.seconds + load.warmup))
            durable, costs = await measured(stand, job(stand.port, requests, options.seconds))
            await empty_lane(stand)
            one, _ = await measured(stand, job(stand.port, requests, options.seconds / 2, connections=1))
            await empty_lane(stand)
            found.add(
                "single-record durable POSTs, 64 connections", durable.per_second(), "/s",
                ceiling=echo.per_second(), ceiling_is="/s, bare echo", goal=0.5, note=_latency(durable),
            )  # fmt: skip
            found.add(
                "the same, per second of ingest's processor time", 1e6 / costs["ingest"], "/s",
                ceiling=1e6 / echoing, ceiling_is="/s, bare echo",
                note=f"{costs['ingest']:.0f} us a request (echo: {echoing:.0f}), broker {costs['nats-server']:.0f} us",
            )  # fmt: skip
            found.add("the same, 1 connection", one.per_second(), "/s", note=_latency(one))
    return found.figures()


async def ndjson(stand: Stand, options: Options) -> list[Figure]:
    """Batches of 1,000 lines of JSON over 8 connections; decoding alone right before, and beside a busy neighbour."""
    found = Collected("batches")
    lines = list(options.lines)
    alone_bodies, requests = bodies(lines), batches(lines, stand.key)
    async with _echo() as (port, _):
        for _ in range(options.repeats):
            alone, decoding = await asyncio.to_thread(_decode_alone, alone_bodies, 1.5)
            neighbour = asyncio.create_task(run_in_process(job(port, requests, 3.0, BATCH_CONNECTIONS)))
            await asyncio.sleep(1.5)
            beside, _ = await asyncio.to_thread(_decode_alone, alone_bodies, 1.5)
            await neighbour
            batched, costs = await measured(stand, job(stand.port, requests, options.seconds, BATCH_CONNECTIONS))
            await empty_lane(stand)
            records = batched.per_second() * BATCH
            found.add(
                f"NDJSON in batches of {BATCH}, {BATCH_CONNECTIONS} connections", records, "records/s",
                ceiling=alone, ceiling_is="records/s, msgspec decoding them alone", goal=0.3, note=_latency(batched),
            )  # fmt: skip
            found.add(
                "the same, decoding beside a busy load generator", records, "records/s",
                ceiling=beside, ceiling_is="records/s, msgspec decoding them",
            )  # fmt: skip
            found.add(
                "the same, per second of ingest's processor time", BATCH * 1e6 / costs["ingest"], "records/s",
                ceiling=decoding, ceiling_is="records/s, msgspec decoding them alone",
                note=f"{costs['ingest']:.0f} us a batch, of which {1e6 * BATCH / decoding:.0f} are decoding; broker"
                f" {costs['nats-server']:.0f} us",
            )  # fmt: skip
    return found.figures()


def _headers(keys: list[str], number: int, kind: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {keys[number % len(keys)]}", "Content-Type": f"application/{kind}"}


def _latency(result: Result) -> str:
    refused = sum(count for status, count in result.statuses.items() if status != "202")
    text = f"p50 {result.quantile(0.5) * 1000:.1f} ms, p99 {result.quantile(0.99) * 1000:.1f} ms"
    return text + (f", {refused} not 202!" if refused else "")


def _decode_alone(sent: list[bytes], seconds: float) -> tuple[float, float]:
    """Records decoded a second, and a second of this thread's processor time."""
    decoder = msgspec.json.Decoder(Draft)
    count = 0
    start, used = time.perf_counter(), time.thread_time()
    while (spent := time.perf_counter() - start) < seconds:
        for body in sent:
            count += len(decoder.decode_lines(body))
    return count / spent, count / (time.thread_time() - used)


@asynccontextmanager
async def _echo() -> AsyncIterator[tuple[int, int]]:
    """Port and process of the bare echo."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.echo", str(port))
    try:
        probe = accepts_connections(port)
        for _ in range(200):
            try:
                await probe()
                break
            except OSError:
                await asyncio.sleep(0.05)
        yield port, process.pid
    finally:
        process.terminate()
        await process.wait()
