"""A connection between two processes that can be cut, fall silent or be slow: what networks do and signals cannot.

Invariants: bytes are passed on in order and unchanged, or not at all; a connection that was silent while bytes came
goes on with them when it may; whatever state the proxy is in, closing it ends all connections.
"""

import asyncio
from contextlib import suppress
from enum import Enum
from typing import Self

from sluice_local.ports import HOST

CHUNK = 16 * 1024
_ABORTED = (OSError, asyncio.IncompleteReadError)


class State(Enum):
    """How the connection is."""

    OPEN = "open"
    CUT = "cut"
    """Every connection is reset, and so is each new one."""
    SILENT = "half-open"
    """Connections stay and are accepted, and nothing comes through: no end of anything is seen by anybody."""
    SLOW = "slow link"
    """Every piece takes its time."""


class Proxy:
    """Listens on a port of its own and passes on to another one, for as long as its context lasts."""

    def __init__(self, target: int, *, slow_seconds: float = 0.05, slow_bytes: int = 4 * 1024) -> None:
        """A slow link passes on pieces of `slow_bytes` with `slow_seconds` before each, in either direction."""
        self._target = target
        self._slow_seconds = slow_seconds
        self._slow_bytes = slow_bytes
        self._state = State.OPEN
        self._flows = asyncio.Event()
        self._flows.set()
        self._connections: dict[asyncio.Task[None], tuple[asyncio.StreamWriter, ...]] = {}
        self.accepted = 0
        """Connections so far."""
        self.passed_bytes = 0

    async def __aenter__(self) -> Self:
        """Begin to listen."""
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """End all connections."""
        self._server.close()
        self.set(State.CUT)
        await asyncio.gather(*self._connections, return_exceptions=True)

    @property
    def state(self) -> State:
        """How it is now."""
        return self._state

    def set(self, state: State) -> None:
        """Be so from now on."""
        self._state = state
        if state is State.SILENT:
            self._flows.clear()
            return
        self._flows.set()
        if state is State.CUT:
            for task, writers in self._connections.items():
                for writer in writers:
                    writer.transport.abort()
                task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.accepted += 1
        self._connections[task] = (writer,)
        try:
            # Cancelled by `set` in the middle of a connection; the server would report that as an error of its own.
            with suppress(asyncio.CancelledError, *_ABORTED):
                await self._connect(task, reader, writer)
        finally:
            for one in self._connections.pop(task):
                one.transport.abort()

    async def _connect(
        self, task: asyncio.Task[None], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await self._flows.wait()
        if self._state is State.CUT:
            return
        there, back = await asyncio.open_connection(HOST, self._target)
        self._connections[task] = (writer, back)
        ways = [asyncio.create_task(self._pass(*way)) for way in ((reader, back), (there, writer))]
        try:
            # Neither of the protocols closes one direction only: the end of one is the end.
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while piece := await source.read(CHUNK):
            while piece:
                await self._flows.wait()
                part = piece
                if self._state is State.SLOW:
                    await asyncio.sleep(self._slow_seconds)
                    part = piece[: self._slow_bytes]
                sink.write(part)
                await sink.drain()
                self.passed_bytes += len(part)
                piece = piece[len(part) :]
        await self._flows.wait()  # an end is news, too
