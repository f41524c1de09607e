"""How fast ingest accepts, durably, against a bare echo and against decoding alone."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from bench.load import Job, Result, request, run_in_process
from bench.table import Row
from sluice_ingest.drafts import Draft
from sluice_local.embedded import EmbeddedStack
from sluice_local.ports import HOST, free_port
from sluice_local.probes import accepts_connections

CONNECTIONS = 64
BATCH = 1000


@asynccontextmanager
async def _echo() -> AsyncIterator[int]:
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
        yield port
    finally:
        process.terminate()
        await process.wait()


def _job(port: int, requests: list[bytes], seconds: float, connections: int = CONNECTIONS) -> Job:
    return Job(HOST, port, connections, seconds, min(1.0, seconds / 4), requests)


def _singles(lines: list[str], key: str) -> list[bytes]:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    return [request("/ingest", msgspec.json.encode({"text": line}), headers) for line in lines[:2000]]


def make_batches(lines: list[str], key: str) -> tuple[list[bytes], list[bytes]]:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/x-ndjson"}
    encoder = msgspec.json.Encoder()
    bodies = [
        encoder.encode_lines([{"text": line} for line in lines[start : start + BATCH]])
        for start in range(0, len(lines) - BATCH + 1, BATCH)
    ][:32]
    return bodies, [request("/ingest", body, headers) for body in bodies]


def _decode_alone(bodies: list[bytes], seconds: float = 2.0) -> float:
    decoder = msgspec.json.Decoder(Draft)
    count = 0
    start = time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        for body in bodies:
            count += len(decoder.decode_lines(body))
    return count / spent


async def _settle(stack: EmbeddedStack) -> None:
    """Empty the lane between measurements, or it fills up."""
    await stack.rights.broker.api("STREAM.PURGE.SLUICE_LANE_standard")
    await asyncio.sleep(0.5)


def _latency(result: Result) -> str:
    refused = sum(count for status, count in result.statuses.items() if status != "202")
    text = f"p50 {result.quantile(0.5) * 1000:.1f} ms, p99 {result.quantile(0.99) * 1000:.1f} ms"
    return text + (f", {refused} not 202!" if refused else "")


async def measure(stack: EmbeddedStack, key: str, lines: list[str], seconds: float) -> list[Row]:
    """Rows for single records and for NDJSON batches; the stack has no worker on its standard lane."""
    singles = _singles(lines, key)
    async with _echo() as port:
        echo = await run_in_process(_job(port, singles, seconds))
    durable = await run_in_process(_job(stack.ingest.port, singles, seconds))
    await _settle(stack)
    bodies, batches = make_batches(lines, key)
    ceiling = await asyncio.to_thread(_decode_alone, bodies)
    async with _echo() as port:
        # What decoding alone does while another process keeps the machine as busy as the load generator does.
        neighbour = asyncio.create_task(run_in_process(_job(port, batches, 3.0, connections=8)))
        await asyncio.sleep(1.5)
        beside = await asyncio.to_thread(_decode_alone, bodies, 1.5)
        await neighbour
    batched = await run_in_process(_job(stack.ingest.port, batches, seconds, connections=8))
    await _settle(stack)
    one = await run_in_process(_job(stack.ingest.port, singles, seconds / 2, connections=1))
    await _settle(stack)
    return [
        Row(
            "single-record durable POSTs, 64 connections",
            durable.per_second(),
            "/s",
            echo.per_second(),
            "/s bare echo",
            0.5,
            _latency(durable),
        ),
        Row("the same, 1 connection", one.per_second(), "/s", note=_latency(one)),
        Row(
            f"NDJSON batches of {BATCH}, 8 connections",
            batched.per_second() * BATCH,
            "records/s",
            ceiling,
            "records/s decoded alone",
            0.3,
            f"{_latency(batched)}; beside a busy neighbour decoding alone does {beside:,.0f}/s",
        ),
    ]


def peak_memory(pids: dict[str, int]) -> list[Row]:
    """Largest resident size of each process so far (Linux)."""
    rows = []
    for name, pid in pids.items():
        status = Path(f"/proc/{pid}/status")
        if status.exists():
            peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
            rows.append(Row(f"peak memory of {name}", int(peak.split()[1]) / 1024, "MiB"))
    return rows
