"""Inflating bodies: to the limit and no byte further, within what was leased."""

import asyncio
import gzip
import sys
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sluice_core.errors import Refusal
from sluice_core.limits import KIB, MIB
from sluice_core.reasons import BODY_TOO_LARGE, CORRUPT_ENCODING, OVERLOADED, UNSUPPORTED_ENCODING
from sluice_ingest.budget import Budget
from sluice_ingest.inflate import AT_ONCE, Inflater
from unit.fakes import refused
from unit.virtual import run

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


def _deflate_raw(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


_ENCODINGS: dict[bytes, Callable[[bytes], bytes]] = {
    b"gzip": gzip.compress,
    b"x-gzip": gzip.compress,
    b"deflate": zlib.compress,
    b"zstd": zstd.compress,
}
_all_encodings = pytest.mark.parametrize("encoding", list(_ENCODINGS))


async def inflate(body: bytes, encoding: bytes | None, limit: int, budget: Budget | None = None) -> bytes:
    budget = budget or Budget(256 * MIB, 256 * MIB)
    with budget.lease() as lease:
        lease.resize(len(body))
        data = await Inflater().inflate(body, encoding, limit, lease)
        assert budget.held >= len(data)
    assert budget.held == 0
    return data


def _inflate(body: bytes, encoding: bytes | None, limit: int = 1000) -> bytes:
    return run(inflate(body, encoding, limit))


@pytest.mark.parametrize("encoding", [None, b"", b"identity", b" Identity "])
def test_without_an_encoding_the_body_is_the_body(encoding: bytes | None) -> None:
    assert _inflate(b"\x1f\x8b", encoding) == b"\x1f\x8b"


@pytest.mark.parametrize(
    "encoding", [b"br", b"gzip, gzip", b"gzip,identity", b"compress", b"\xff", b"gzip;q=1", b"lz4"]
)
def test_another_encoding_is_refused(encoding: bytes) -> None:
    with refused(UNSUPPORTED_ENCODING):
        _inflate(b"", encoding)


@_all_encodings
@given(data=st.binary(max_size=200))
def test_what_was_compressed_comes_back(encoding: bytes, data: bytes) -> None:
    assert _inflate(_ENCODINGS[encoding](data), encoding) == data
    assert _inflate(_ENCODINGS[encoding](data), b" " + encoding.upper()) == data


@given(data=st.binary(max_size=200))
def test_deflate_may_be_a_zlib_stream_or_a_bare_one(data: bytes) -> None:
    assert _inflate(zlib.compress(data), b"deflate") == data
    assert _inflate(_deflate_raw(data), b"deflate") == data


@_all_encodings
async def test_a_large_body_is_inflated_in_a_thread_to_the_same_effect(encoding: bytes) -> None:
    data = bytes(range(256)) * 400 + zlib.compress(b"x") * 8000
    packed = _ENCODINGS[encoding](data) if encoding != b"zstd" else zstd.compress(data, level=-5)
    assert await inflate(packed, encoding, len(data)) == data
    with refused(BODY_TOO_LARGE):
        await inflate(packed, encoding, len(data) - 1)


@_all_encodings
@pytest.mark.parametrize("size", [0, 1, 100, 16_384, 100_000])
def test_the_limit_is_exact(encoding: bytes, size: int) -> None:
    packed = _ENCODINGS[encoding](b"x" * size)
    assert len(_inflate(packed, encoding, size)) == size
    if size:
        with refused(BODY_TOO_LARGE):
            _inflate(packed, encoding, size - 1)


def _bomb(encoding: bytes) -> bytes:
    """Some kilobytes that inflate to 64 MiB."""
    block = b"\0" * MIB
    if encoding == b"zstd":
        packer = zstd.ZstdCompressor(level=1)
        return b"".join(packer.compress(block) for _ in range(64)) + packer.flush()
    bits = {b"deflate": zlib.MAX_WBITS, b"gzip": 16 + zlib.MAX_WBITS}[encoding]
    compressor = zlib.compressobj(level=1, wbits=bits)
    return b"".join(compressor.compress(block) for _ in range(64)) + compressor.flush()


@pytest.mark.parametrize("encoding", [b"gzip", b"deflate", b"zstd"])
async def test_a_bomb_costs_no_more_memory_than_the_limit(encoding: bytes) -> None:
    bomb = _bomb(encoding)
    limit = 64 * 1024
    tracemalloc.start()
    try:
        with refused(BODY_TOO_LARGE):
            await inflate(bomb, encoding, limit)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * limit + 2 * len(bomb)


def test_a_zstd_frame_that_wants_a_larger_window_than_every_decoder_has_is_refused() -> None:
    options: dict[int, int] = {zstd.CompressionParameter.window_log: 27, zstd.CompressionParameter.content_size_flag: 0}
    packer = zstd.ZstdCompressor(options=options)
    wide = packer.compress(b"x" * 1000) + packer.flush()
    with refused(CORRUPT_ENCODING):
        _inflate(wide, b"zstd", 10_000)


@_all_encodings
@given(data=st.data())
def test_a_stream_cut_short_is_corrupt(encoding: bytes, data: st.DataObject) -> None:
    packed = _ENCODINGS[encoding](b"some text that is worth compressing, compressing")
    with refused(CORRUPT_ENCODING):
        _inflate(packed[: data.draw(st.integers(0, len(packed) - 1))], encoding)


@_all_encodings
@pytest.mark.parametrize("tail", [b"\0", b"garbage"])
def test_anything_after_the_stream_is_corrupt(encoding: bytes, tail: bytes) -> None:
    with refused(CORRUPT_ENCODING):
        _inflate(_ENCODINGS[encoding](b"text") + tail, encoding)


@_all_encodings
def test_a_second_stream_after_the_first_is_refused_rather_than_dropped(encoding: bytes) -> None:
    pack = _ENCODINGS[encoding]
    with refused(CORRUPT_ENCODING):
        _inflate(pack(b"one") + pack(b"two"), encoding)


@pytest.mark.parametrize("encoding", [b"gzip", b"deflate"])
def test_a_wrong_checksum_is_corrupt(encoding: bytes) -> None:
    packed = bytearray(_ENCODINGS[encoding](b"some text"))
    packed[-5 if encoding == b"gzip" else -1] ^= 1
    with refused(CORRUPT_ENCODING):
        _inflate(bytes(packed), encoding)


@given(st.binary(max_size=60), st.sampled_from(list(_ENCODINGS)))
@example(b"\x28\xb5\x2f\xfd", b"zstd")
@example(b"\x50\x2a\x4d\x18\x00\x00\x00\x00", b"zstd")
@example(b"\x78\x9c", b"deflate")
def test_bytes_of_any_kind_are_inflated_or_refused_and_never_worse(body: bytes, encoding: bytes) -> None:
    try:
        data = _inflate(body, encoding, 500)
    except Refusal as refusal:
        assert refusal.reason in {CORRUPT_ENCODING, BODY_TOO_LARGE}  # noqa: PT017 - anything else is the failure
    else:
        assert len(data) <= 500


@_all_encodings
@pytest.mark.parametrize("size", [300 * KIB, MIB, 3 * MIB + 1, 9 * MIB])
async def test_what_takes_many_steps_comes_back_too_and_its_end_is_checked(encoding: bytes, size: int) -> None:
    data = (bytes(range(256)) * (size // 256 + 1))[:size]
    packed = _ENCODINGS[encoding](data)
    assert await inflate(packed, encoding, size) == data
    with refused(BODY_TOO_LARGE):
        await inflate(packed, encoding, size - 1)
    for broken in (packed[:-1], packed + b"x", packed + packed):
        with refused(CORRUPT_ENCODING):
            await inflate(broken, encoding, 2 * size + 1)


@_all_encodings
async def test_inflating_stops_where_the_room_ends(encoding: bytes) -> None:
    budget = Budget(8 * MIB, 8 * MIB)
    with refused(OVERLOADED):
        await inflate(_ENCODINGS[encoding](bytes(32 * MIB)), encoding, 64 * MIB, budget)
    assert budget.held == 0


async def test_only_a_few_bodies_are_inflated_at_once() -> None:
    budget = Budget(256 * MIB, 256 * MIB)
    inflater = Inflater()
    packed = zlib.compress(bytes(4 * MIB))
    most = 0

    async def one() -> None:
        with budget.lease() as lease:
            lease.resize(len(packed))
            await inflater.inflate(packed, b"deflate", 8 * MIB, lease)

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, budget.held)
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(one() for _ in range(20)))
    watching.cancel()
    assert budget.held == 0
    assert most <= AT_ONCE * 9 * MIB + 20 * 17 * KIB
