"""A shipper that does not care: so many requests a second on many connections, whatever is answered.

It ignores `Retry-After`, opens again what is closed, and never catches up on what it could not send in time. A process
of its own, so that the neighbour's clock is not held up by its work. Invariant: every answer is counted by its status.

Reads a job from standard input, says `sending` when all connections stand, and on SIGTERM writes a result to standard
output.
"""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import msgspec
import uvloop

_LENGTH = b"content-length: "


class Stream(msgspec.Struct):
    """Requests of one kind."""

    connections: int
    per_second: float
    """On all connections together."""
    records: int
    """In each request."""
    requests: list[bytes]
    """Whole requests; each connection goes round them from a place of its own."""


class Job(msgspec.Struct):
    host: str
    port: int
    streams: list[Stream]

    @property
    def offered(self) -> float:
        """Records a second."""
        return sum(stream.per_second * stream.records for stream in self.streams)


class Result(msgspec.Struct):
    seconds: float = 0.0
    records: dict[str, int] = {}
    """By the status of their request."""

    def per_second(self, *statuses: str) -> float:
        return sum(number for status, number in self.records.items() if status in statuses) / self.seconds

    @property
    def offered(self) -> float:
        return self.per_second(*self.records)


async def _send(job: Job, stream: Stream, place: int, result: Result) -> None:
    pause = stream.connections / stream.per_second
    number = place * len(stream.requests) // stream.connections
    due = time.perf_counter() + pause * place / stream.connections
    while True:
        with suppress(OSError, EOFError):
            reader, writer = await asyncio.open_connection(job.host, job.port)
            try:
                while True:
                    due = max(due + pause, time.perf_counter())
                    await asyncio.sleep(due - time.perf_counter())
                    writer.write(stream.requests[number % len(stream.requests)])
                    number += 1
                    head = (await reader.readuntil(b"\r\n\r\n")).lower()
                    at = head.find(_LENGTH) + len(_LENGTH)
                    await reader.readexactly(int(head[at : head.find(b"\r\n", at)]))
                    status = head[9:12].decode()
                    result.records[status] = result.records.get(status, 0) + stream.records
            finally:
                writer.close()
        result.records["no answer"] = result.records.get("no answer", 0)


async def run(job: Job) -> Result:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    result = Result(records={})
    sending = [
        asyncio.create_task(_send(job, stream, place, result))
        for stream in job.streams
        for place in range(stream.connections)
    ]
    began = time.perf_counter()
    sys.stdout.buffer.write(b"sending\n")
    sys.stdout.buffer.flush()
    await stop.wait()
    result.seconds = time.perf_counter() - began
    for task in sending:
        task.cancel()
    return result


@asynccontextmanager
async def flooding(job: Job) -> AsyncIterator[Result]:
    """Inside, the job is sent; the result is filled in afterwards."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.flood"), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    result = Result()
    try:
        process.stdin.write(msgspec.msgpack.encode(job))
        process.stdin.write_eof()
        await process.stdout.readline()
        yield result
    finally:
        process.terminate()
        output, _ = await process.communicate()
    found = msgspec.msgpack.decode(output, type=Result)
    result.seconds, result.records = found.seconds, found.records


if __name__ == "__main__":
    outcome = uvloop.run(run(msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Job)))
    sys.stdout.buffer.write(msgspec.msgpack.encode(outcome))
