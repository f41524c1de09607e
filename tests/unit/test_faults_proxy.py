"""The proxy between parts and servers does what its states say, and nothing else."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest

from sluice_local.ports import HOST
from support.proxy import Proxy, State

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[], Awaitable[Ends]]


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while piece := await reader.read(1024):
            writer.write(piece)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    server = await asyncio.start_server(_echo, HOST, 0)
    async with server, Proxy(server.sockets[0].getsockname()[1], slow_seconds=0.01, slow_bytes=10) as made:
        yield made


@pytest.fixture
async def connect(proxy: Proxy) -> AsyncIterator[Connect]:
    made: list[asyncio.StreamWriter] = []

    async def connect() -> Ends:
        ends = await asyncio.open_connection(HOST, proxy.port)
        made.append(ends[1])
        return ends

    yield connect
    for writer in made:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def _answer(ends: Ends, text: bytes, within: float = 5.0) -> bytes:
    reader, writer = ends
    writer.write(text)
    return await asyncio.wait_for(reader.readexactly(len(text)), within)


@pytest.mark.parametrize("state", [State.OPEN, State.SLOW])
async def test_bytes_come_through_in_order_and_unchanged(proxy: Proxy, connect: Connect, state: State) -> None:
    proxy.set(state)
    text = bytes(range(256)) * 4
    ends = await connect()
    assert await _answer(ends, text) == text
    assert proxy.passed_bytes == 2 * len(text)


async def test_a_cut_ends_what_is_there_and_what_comes_until_it_is_open_again(proxy: Proxy, connect: Connect) -> None:
    ends = await connect()
    await _answer(ends, b"before")
    proxy.set(State.CUT)
    for one in (ends, await connect()):
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await _answer(one, b"meanwhile")
    proxy.set(State.OPEN)
    ends = await connect()
    assert await _answer(ends, b"after") == b"after"


async def test_silence_says_nothing_to_anybody_and_loses_nothing(proxy: Proxy, connect: Connect) -> None:
    old = await connect()
    await _answer(old, b"before")
    proxy.set(State.SILENT)
    new = await connect()
    for one in (old, new):
        with pytest.raises(TimeoutError):
            await _answer(one, b"meanwhile", within=0.2)
    proxy.set(State.OPEN)
    for reader, _ in (old, new):
        assert await asyncio.wait_for(reader.readexactly(9), 5) == b"meanwhile"


async def test_the_end_of_one_side_is_the_end_of_the_other(connect: Connect) -> None:
    reader, writer = await connect()
    await _answer((reader, writer), b"before")
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(), 5) == b""
