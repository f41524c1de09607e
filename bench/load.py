"""A load generator: a fixed number of connections that each send one request after another.

It speaks just enough HTTP/1.1 to be far cheaper than what it measures, and runs as a process of its own so that its
work is not counted as the server's. Invariant: every answer is counted by its status, and latency includes the wait
for the whole answer.

Reads a JSON job from standard input, writes a JSON result to standard output.
"""

import asyncio
import sys
import time
from typing import cast

import msgspec
import uvloop


class Job(msgspec.Struct):
    host: str
    port: int
    connections: int
    seconds: float
    warmup: float
    requests: list[bytes]
    """Whole requests; each connection goes round them from a place of its own."""


class Result(msgspec.Struct):
    seconds: float
    statuses: dict[str, int]
    latencies: list[float]
    """Of every request that began after the warm-up, in seconds, sorted."""

    def per_second(self, status: int = 202) -> float:
        return self.statuses.get(str(status), 0) / self.seconds

    def quantile(self, q: float) -> float:
        return self.latencies[min(int(len(self.latencies) * q), len(self.latencies) - 1)]


class _Connection(asyncio.Protocol):
    def __init__(self, job: Job, place: int, result: Result, end: float, measured_from: float) -> None:
        self._job = job
        self._next = place
        self._result = result
        self._end = end
        self._measured_from = measured_from
        self._buffer = b""
        self._sent = 0.0
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = self._buffer[:head_end].lower()
        at = head.find(b"content-length:") + len(b"content-length:")
        stop = head.find(b"\r\n", at)
        length = int(head[at : stop if stop >= 0 else None])
        if len(self._buffer) < head_end + 4 + length:
            return
        now = time.perf_counter()
        if self._sent >= self._measured_from and now <= self._end:
            status = head[9:12].decode()
            self._result.statuses[status] = self._result.statuses.get(status, 0) + 1
            self._result.latencies.append(now - self._sent)
        self._buffer = b""
        if now >= self._end:
            self._transport.close()
        else:
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._job.requests[self._next % len(self._job.requests)])
        self._next += 1


async def run(job: Job) -> Result:
    loop = asyncio.get_running_loop()
    begin = time.perf_counter() + job.warmup
    result = Result(job.seconds, {}, [])
    step = max(len(job.requests) // job.connections, 1)
    connections = []
    for number in range(job.connections):
        _, connection = await loop.create_connection(
            lambda number=number: _Connection(job, number * step, result, begin + job.seconds, begin),  # type: ignore[misc]
            job.host,
            job.port,
        )
        connections.append(connection)
    await asyncio.wait([connection.closed for connection in connections], timeout=job.warmup + job.seconds + 10)
    result.latencies.sort()
    return result


async def run_in_process(job: Job) -> Result:
    """Run a job in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.load", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate(msgspec.msgpack.encode(job))
    return msgspec.msgpack.decode(output, type=Result)


def request(path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """A whole HTTP/1.1 request."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


if __name__ == "__main__":
    outcome = uvloop.run(run(msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Job)))
    sys.stdout.buffer.write(msgspec.msgpack.encode(outcome))
