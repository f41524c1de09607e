"""Proxies before the API server, the broker and the database that count writes, and end the operator at the n-th.

The n-th write is still passed on: what is left behind is every write up to it, the last one unknown to whoever made it.
So counting n up from 1 goes through every state that a crash can leave. Invariant: reads pass and do not count.
"""

import asyncio
import os
import re
import signal
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import bson
from aiohttp import web

from sluice_local.ports import HOST, free_port

_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_NATS = re.compile(
    rb"\$KV\..*|logs\..*|dlq\..*|parked\..*"
    rb"|\$JS\.API\.(STREAM\.(CREATE|UPDATE|DELETE|PURGE|MSG\.DELETE)|CONSUMER\.(CREATE|DURABLE\.CREATE|DELETE))\..*"
)
_MONGODB = re.compile(
    r"insert|update|delete|findAndModify|create|createIndexes|dropIndexes|collMod|drop|dropDatabase"
    r"|(create|update|drop)(User|Role)|(grant|revoke)\w+"
)
_OP_MSG = 2013
_PIECE = 65_536


class Writes:
    """Counts writes. At number `fatal` the process `pid` is killed."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.fatal: int | None = None
        self.pid: int | None = None

    @property
    def struck(self) -> bool:
        """Whether the fatal write was reached."""
        return self.fatal is not None and len(self.seen) >= self.fatal

    def arm(self, fatal: int, pid: int) -> None:
        """Begin to count anew."""
        self.seen, self.fatal, self.pid = [], fatal, pid

    def disarm(self) -> None:
        self.fatal = self.pid = None

    def note(self, what: str) -> None:
        """One write comes by."""
        self.seen.append(what)
        if self.struck and self.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


_PASSED_ON = ("Content-Type", "Content-Encoding")


@asynccontextmanager
async def kube_proxy(upstream: str, context: ssl.SSLContext, writes: Writes) -> AsyncIterator[str]:
    """Plain HTTP in, the API server's TLS out; gives its address."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
    connector = aiohttp.TCPConnector(ssl=context, limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as session:

        async def forward(request: web.Request) -> web.StreamResponse:
            body = await request.read()
            if request.method in _METHODS:
                writes.note(f"kubernetes {request.method} {request.path}")
            headers = {
                name: value
                for name, value in request.headers.items()
                if name.lower() in {"authorization", "content-type", "accept", "user-agent"}
            }
            async with session.request(
                request.method, upstream + request.raw_path, data=body or None, headers=headers
            ) as answer:
                # A list of some dozens of objects comes compressed, and is passed on as it is.
                kept = {name: answer.headers[name] for name in _PASSED_ON if name in answer.headers}
                response = web.StreamResponse(status=answer.status, headers=kept)
                with suppress(ConnectionError, aiohttp.ClientError):
                    await response.prepare(request)
                    async for piece in answer.content.iter_any():
                        await response.write(piece)
                    await response.write_eof()
                return response

        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", forward)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        port = free_port()
        await web.TCPSite(runner, HOST, port).start()
        try:
            yield f"http://{HOST}:{port}"
        finally:
            await runner.cleanup()


Frames = Callable[[asyncio.StreamReader], AsyncIterator[tuple[str, bytes]]]


async def nats_frames(reader: asyncio.StreamReader) -> AsyncIterator[tuple[str, bytes]]:
    """Each frame a client sends, with what it writes: empty for what is no write."""
    while True:
        line = await reader.readuntil(b"\r\n")
        words = line.split()
        frame, what = line, ""
        if words and words[0].upper() in {b"PUB", b"HPUB"}:
            frame += await reader.readexactly(int(words[-1]) + 2)
            if _NATS.fullmatch(words[1]):
                what = f"nats {words[1].decode()}"
        yield what, frame


async def mongodb_frames(reader: asyncio.StreamReader) -> AsyncIterator[tuple[str, bytes]]:
    """Each message a client sends, with the command when it is one that writes."""
    while True:
        head = await reader.readexactly(16)
        size, opcode = int.from_bytes(head[:4], "little"), int.from_bytes(head[12:16], "little")
        body = await reader.readexactly(size - 16)
        what = ""
        if opcode == _OP_MSG and body[4] == 0:
            length = int.from_bytes(body[5:9], "little")
            command: dict[str, Any] = bson.decode(body[5 : 5 + length])
            name = next(iter(command))
            if _MONGODB.fullmatch(name):
                what = f"mongodb {name} {command.get('$db')}"
        yield what, head + body


@asynccontextmanager
async def stream_proxy(port: int, frames: Frames, writes: Writes) -> AsyncIterator[int]:
    """Before a server on this port of the loopback address; gives the port to connect to instead."""
    open_tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_tasks.add(task)
        try:
            upstream, down = await asyncio.open_connection(HOST, port, limit=2**26)
        except OSError:
            writer.close()
            return
        finally:
            task.add_done_callback(open_tasks.discard)

        async def requests() -> None:
            async for what, frame in frames(reader):
                if what:
                    writes.note(what)
                down.write(frame)
                await down.drain()

        async def answers() -> None:
            while piece := await upstream.read(_PIECE):
                writer.write(piece)
                await writer.drain()

        try:
            await _first(requests(), answers())
        finally:
            for one in (writer, down):
                one.close()
                with suppress(ConnectionError):
                    await one.wait_closed()

    server = await asyncio.start_server(serve, HOST, own := free_port(), limit=2**26)
    try:
        yield own
    finally:
        server.close()
        for task in list(open_tasks):
            task.cancel()
        await asyncio.gather(*open_tasks, return_exceptions=True)


async def _first(*work: Awaitable[None]) -> None:
    """Until one of them ends, however."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
