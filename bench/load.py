"""A load generator: a fixed number of connections that each send one request after another, or at a given rate.

It speaks just enough HTTP/1.1 to be far cheaper than what it measures, and runs as a process of its own so that its
work is not counted as the server's. Invariant: every answer is counted by its status, and latency includes the wait
for the whole answer; at a rate it counts from when a request was due, however late a connection was free for it.

Reads a job from standard input and writes a result to standard output, as MessagePack.
"""

import asyncio
import subprocess
import sys
import time
from collections import deque
from typing import cast

import msgspec
import uvloop

from bench.quantiles import quantile

_PACE_SECONDS = 0.001


class Job(msgspec.Struct):
    host: str
    port: int
    connections: int
    seconds: float
    warmup: float
    requests: list[bytes]
    """Whole requests; each connection goes round them from a place of its own."""
    rate: float | None = None
    """Requests a second that are due however fast answers come; None: each answer is followed by the next request."""


class Result(msgspec.Struct):
    seconds: float
    statuses: dict[str, int]
    latencies: list[float]
    """Of every request that began after the warm-up, in seconds."""

    def per_second(self, status: int = 202) -> float:
        return self.statuses.get(str(status), 0) / self.seconds

    def quantile(self, q: float) -> float:
        return quantile(self.latencies, q)


class _Connection(asyncio.Protocol):
    def __init__(self, place: int, course: "_Course") -> None:
        self._next = place
        self._course = course
        self._buffer = b""
        self._due = 0.0
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._course.free(self)

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
        self._course.count(head[9:12].decode(), self._due)
        self._buffer = b""
        self._course.free(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)

    def send(self, due: float) -> None:
        self._due = due
        requests = self._course.job.requests
        self._transport.write(requests[self._next % len(requests)])
        self._next += 1

    def close(self) -> None:
        self._transport.close()


class _Course:
    """Which connection sends when, and what came of it."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.result = Result(job.seconds, {}, [])
        self._begin = time.perf_counter() + job.warmup
        self._end = self._begin + job.seconds
        self._idle: deque[_Connection] = deque()
        self._due: deque[float] = deque()

    def free(self, connection: _Connection) -> None:
        """A connection has nothing to do."""
        now = time.perf_counter()
        if now >= self._end:
            connection.close()
        elif self.job.rate is None:
            connection.send(now)
        elif self._due:
            connection.send(self._due.popleft())
        else:
            self._idle.append(connection)

    def count(self, status: str, due: float) -> None:
        """An answer came."""
        now = time.perf_counter()
        if due >= self._begin and now <= self._end:
            self.result.statuses[status] = self.result.statuses.get(status, 0) + 1
            self.result.latencies.append(now - due)

    async def pace(self) -> None:
        """Make requests due at the job's rate until the end."""
        rate = self.job.rate
        if rate is not None:
            start, number = time.perf_counter(), 0
            while (now := time.perf_counter()) < self._end:
                while (due := start + number / rate) <= now:
                    number += 1
                    if self._idle:
                        self._idle.popleft().send(due)
                    else:
                        self._due.append(due)
                await asyncio.sleep(_PACE_SECONDS)
            for connection in self._idle:
                connection.close()


async def run(job: Job) -> Result:
    loop = asyncio.get_running_loop()
    course = _Course(job)
    step = max(len(job.requests) // job.connections, 1)
    connections = []
    for number in range(job.connections):
        _, connection = await loop.create_connection(
            lambda number=number: _Connection(number * step, course),  # type: ignore[misc]
            job.host,
            job.port,
        )
        connections.append(connection)
    await course.pace()
    await asyncio.wait([connection.closed for connection in connections], timeout=job.warmup + job.seconds + 10)
    return course.result


async def run_in_process(job: Job) -> Result:
    """Run a job in a process of its own."""
    # In a thread: through asyncio's own pipe only 128 KiB of a result arrived, once in hundreds of runs.
    process = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "bench.load"],
        input=msgspec.msgpack.encode(job),
        stdout=subprocess.PIPE,
        check=False,
    )
    if process.returncode:
        raise RuntimeError("the load generator failed: what it said is above")
    try:
        return msgspec.msgpack.decode(process.stdout, type=Result)
    except msgspec.DecodeError as error:
        answered = len(process.stdout)
        raise RuntimeError(f"the load generator answered {answered:,} bytes that are no result: {error}") from error


def request(path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """A whole HTTP/1.1 request."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


if __name__ == "__main__":
    outcome = uvloop.run(run(msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Job)))
    sys.stdout.buffer.write(msgspec.msgpack.encode(outcome))
