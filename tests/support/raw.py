"""HTTP as bytes, for what a well-behaved client would not send."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import msgspec


class RawAnswer(msgspec.Struct, frozen=True):
    """One answer as it came over the wire."""

    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


async def exchange(url: str, *pieces: bytes, answers: int = 1, within: float = 20.0) -> list[RawAnswer]:
    """Open a connection, send the pieces one by one, and read so many answers, or fewer when it is closed.

    After each piece but the last, one answer is read before the next piece is sent.
    """
    address = urlsplit(url)
    read: list[RawAnswer] = []
    async with asyncio.timeout(within):
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        try:
            for number, piece in enumerate(pieces):
                with suppress(ConnectionError):  # it may have answered and closed before all of it was sent
                    writer.write(piece)
                    await writer.drain()
                if number < len(pieces) - 1 and (answer := await _read(reader)) is not None:
                    read.append(answer)
            while len(read) < answers and (answer := await _read(reader)) is not None:
                read.append(answer)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
    return read


def post_head(key: str, *, length: int | None = None, chunked: bool = False, more: str = "") -> bytes:
    """The head of a POST of NDJSON."""
    framing = "Transfer-Encoding: chunked\r\n" if chunked else f"Content-Length: {length or 0}\r\n"
    return (
        f"POST /ingest HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/x-ndjson\r\n{framing}{more}\r\n"
    ).encode()


class Line:
    """One open connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> bool:
        """Send, and wait until it is on its way, or until there is an answer; False when the connection is closed."""
        try:
            self._writer.write(data)
            sending = asyncio.ensure_future(self._writer.drain())
            while not sending.done() and not self.answered():
                await asyncio.wait([sending], timeout=0.05)
            if sending.done():
                sending.result()
            else:
                sending.cancel()
        except ConnectionError:
            return False
        return not self._writer.is_closing()

    def answered(self) -> bool:
        """Whether anything came back, or the connection ended."""
        return self._reader.at_eof() or bool(self._reader._buffer)  # type: ignore[attr-defined]

    async def answer(self) -> RawAnswer | None:
        """The next answer; None when the connection is closed instead."""
        return await _read(self._reader)


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[Line]:
    """An open connection, closed hard in the end."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        yield Line(reader, writer)
    finally:
        writer.transport.abort()


async def _read(reader: asyncio.StreamReader) -> RawAnswer | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(_headers(head).get("content-length", "0"))
        body = await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        # A reset does not take back what arrived before it, but the reader would not give it any more.
        head, end, body = bytes(reader._buffer).partition(b"\r\n\r\n")  # type: ignore[attr-defined]
        if not end:
            return None
        reader._buffer.clear()  # type: ignore[attr-defined]
    return RawAnswer(int(head.split(b" ")[1]), _headers(head), body)


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
