"""Questions whose answer is yes once a server is ready.

Made for `ChildProcess.wait_ready`, which asks them again and again. Invariant: they speak to 127.0.0.1 only, need no
credentials, and leave nothing open behind them.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from sluice_local.ports import HOST

Probe = Callable[[], Awaitable[bool]]
"""Whether it is ready now. OSError and EOFError also mean no."""


def accepts_connections(port: int) -> Probe:
    """Whether something takes TCP connections on `port`."""

    async def probe() -> bool:
        _, writer = await asyncio.open_connection(HOST, port)
        await _close(writer)
        return True

    return probe


def answers_ok(port: int, path: str) -> Probe:
    """Whether `GET path` on `port` is answered with 200."""

    async def probe() -> bool:
        reader, writer = await asyncio.open_connection(HOST, port)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {HOST}:{port}\r\nConnection: close\r\n\r\n".encode())
            status = await reader.readline()
        finally:
            await _close(writer)
        return status.split(b" ")[1:2] == [b"200"]

    return probe


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
