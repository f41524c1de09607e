"""Reading a request's body, never more of it than the tenant may send.

Invariant: neither the body as sent nor the body inflated ever takes more memory than `limit` and one network read.
"""

import asyncio
import sys
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any, Protocol

from sluice_core.errors import Refusal
from sluice_core.limits import KIB, MIB
from sluice_core.reasons import BODY_TOO_LARGE, CORRUPT_ENCODING, TRUNCATED_BODY, UNSUPPORTED_ENCODING

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_ZSTD_WINDOW_LOG = 23
"""8 MiB, the window every zstd decoder must support (RFC 8878); a frame may ask for gigabytes."""
_MOST_DISCARDED = 16 * MIB
_DISCARD_SECONDS = 2.0
_INLINE_BYTES = 32 * KIB
"""Above this inflating takes longer than handing it to a thread."""


async def read_body(receive: Receive, content_length: int | None, limit: int) -> bytes:
    """The whole body. Raises Refusal with BODY_TOO_LARGE, unread where its length was announced, or TRUNCATED_BODY."""
    if content_length is not None and content_length > limit:
        raise Refusal(BODY_TOO_LARGE, f"The body has {content_length} bytes; {limit} are allowed.")
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Refusal(TRUNCATED_BODY)
    first: bytes = message.get("body", b"")
    if not message.get("more_body", False) and len(first) <= limit:
        return first
    body = bytearray(first)
    more = True
    while more:
        if len(body) > limit:
            raise Refusal(BODY_TOO_LARGE, f"The body exceeds {limit} bytes.")
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal(TRUNCATED_BODY)
        body += message.get("body", b"")
        more = message.get("more_body", False)
    if len(body) > limit:
        raise Refusal(BODY_TOO_LARGE, f"The body exceeds {limit} bytes.")
    return bytes(body)


async def discard_body(receive: Receive) -> None:
    """Read what is left of a body for nothing, within bounds.

    A connection closed with bytes unread is reset, and its sender may then never read the answer that says why.
    """
    left = _MOST_DISCARDED
    with suppress(TimeoutError):
        async with asyncio.timeout(_DISCARD_SECONDS):
            more = True
            while more and left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                more = message.get("more_body", False)


async def inflate(body: bytes, encoding: bytes | None, limit: int) -> bytes:
    """The body without its Content-Encoding.

    Raises Refusal with UNSUPPORTED_ENCODING, CORRUPT_ENCODING, or BODY_TOO_LARGE as soon as `limit` is passed.
    """
    name = (encoding or b"").strip().lower()
    if name in {b"", b"identity"}:
        return body
    make_decoder = _DECODERS.get(name)
    if make_decoder is None:
        raise Refusal(UNSUPPORTED_ENCODING)
    decoder = make_decoder(body)
    if len(body) <= _INLINE_BYTES:
        return _inflate(decoder, body, limit)
    return await asyncio.to_thread(_inflate, decoder, body, limit)


class _Decoder(Protocol):
    """What zlib's and zstd's decoders have in common."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def _inflate(decoder: _Decoder, body: bytes, limit: int) -> bytes:
    try:
        data = decoder.decompress(body, limit + 1)
    except (zlib.error, zstd.ZstdError):
        raise Refusal(CORRUPT_ENCODING) from None
    if len(data) > limit:
        raise Refusal(BODY_TOO_LARGE, f"The inflated body exceeds {limit} bytes.")
    if not decoder.eof or decoder.unused_data:
        raise Refusal(CORRUPT_ENCODING, "The compressed body must be one complete stream and nothing after it.")
    return data


def _gzip(body: bytes) -> _Decoder:
    return zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)


def _deflate(body: bytes) -> _Decoder:
    """`deflate` means a zlib stream (RFC 9110), but some clients send a bare one."""
    is_zlib = len(body) >= 2 and body[0] & 0x0F == 8 and int.from_bytes(body[:2]) % 31 == 0
    return zlib.decompressobj(wbits=zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)


def _zstd(body: bytes) -> _Decoder:
    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
    return zstd.ZstdDecompressor(options=options)


_DECODERS: dict[bytes, Callable[[bytes], _Decoder]] = {
    b"gzip": _gzip,
    b"x-gzip": _gzip,
    b"deflate": _deflate,
    b"zstd": _zstd,
}
