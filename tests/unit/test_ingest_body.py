"""Reading and inflating bodies, never beyond the limit."""

import asyncio
import gzip
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sluice_core.errors import Refusal
from sluice_core.limits import MIB
from sluice_core.reasons import BODY_TOO_LARGE, CORRUPT_ENCODING, TRUNCATED_BODY, UNSUPPORTED_ENCODING
from sluice_ingest.body import Message, Receive, discard_body, inflate, read_body
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


class _Client:
    """Sends messages and notes how many were asked for."""

    def __init__(self, *messages: Message) -> None:
        self.messages = list(messages)
        self.received = 0

    async def __call__(self) -> Message:
        self.received += 1
        return self.messages.pop(0)


def _parts(chunks: Sequence[bytes]) -> list[Message]:
    return [
        {"type": "http.request", "body": chunk, "more_body": place < len(chunks) - 1}
        for place, chunk in enumerate(chunks)
    ]


def _read(receive: Receive, limit: int, content_length: int | None = None) -> bytes:
    return run(read_body(receive, content_length, limit))


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=8), st.integers(0, 60))
def test_a_body_is_read_whole_or_refused_as_too_large(chunks: list[bytes], limit: int) -> None:
    whole = b"".join(chunks)
    client = _Client(*_parts(chunks))
    if len(whole) <= limit:
        assert _read(client, limit) == whole
    else:
        with refused(BODY_TOO_LARGE):
            _read(client, limit)


def test_a_body_announced_as_too_large_is_not_read() -> None:
    client = _Client(*_parts([b"x" * 11]))
    with refused(BODY_TOO_LARGE) as caught:
        _read(client, 10, content_length=11)
    assert client.received == 0
    assert "11" in caught.value.detail
    assert "10" in caught.value.detail


def test_reading_stops_as_soon_as_the_limit_is_passed() -> None:
    client = _Client(*_parts([b"x" * 4] * 100))
    with refused(BODY_TOO_LARGE):
        _read(client, 10)
    assert client.received == 3


@pytest.mark.parametrize("before", [[], [b"part"], [b"part", b"", b"more"]])
def test_a_connection_that_ends_early_is_a_truncated_body(before: list[bytes]) -> None:
    messages = [{**message, "more_body": True} for message in _parts(before)]
    with refused(TRUNCATED_BODY):
        _read(_Client(*messages, {"type": "http.disconnect"}), 100)


def test_messages_may_leave_their_fields_out() -> None:
    assert _read(_Client({"type": "http.request"}), 10) == b""
    assert (
        _read(_Client({"type": "http.request", "more_body": True}, {"type": "http.request", "body": b"a"}), 10) == b"a"
    )


def test_a_body_left_unread_is_discarded_to_its_end_or_the_clients() -> None:
    whole = _Client(*_parts([b"a", b"b", b"c"]), {"type": "http.disconnect"})
    run(discard_body(whole))
    assert whole.received == 3
    run(discard_body(_Client({"type": "http.request", "more_body": True}, {"type": "http.disconnect"})))


def test_a_body_without_end_is_not_discarded_without_end() -> None:
    class Endless:
        received = 0

        async def __call__(self) -> Message:
            self.received += 1
            return {"type": "http.request", "body": b"x" * MIB, "more_body": True}

    endless = Endless()
    run(discard_body(endless))
    assert endless.received <= 100

    async def silent() -> Message:
        await asyncio.sleep(3600)
        raise AssertionError("it waited for ever")

    run(discard_body(silent))


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
    # The rest of what was not inflated is copied once by zlib.
    assert peak < 4 * limit + 2 * len(bomb)


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
