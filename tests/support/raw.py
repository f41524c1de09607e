"""HTTP as bytes, for what a well-behaved client would not send."""

import asyncio
import json
from contextlib import suppress
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


async def _read(reader: asyncio.StreamReader) -> RawAnswer | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    status, *lines = head.rstrip("\r\n").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return RawAnswer(int(status.split(" ")[1]), headers, body)
