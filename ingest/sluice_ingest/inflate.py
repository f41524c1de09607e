"""Undoing a Content-Encoding, without ever holding more than was leased for it.

Invariants: the inflated body never passes its limit by more than a byte, however large it would become; each step's
bytes are leased before they are made; and only a few bodies are inflated at once, since decoders have memory of their
own that no lease knows.
"""

import asyncio
import sys
import zlib
from collections.abc import Callable
from typing import Protocol

from sluice_core.errors import Refusal
from sluice_core.limits import KIB
from sluice_core.reasons import BODY_TOO_LARGE, CORRUPT_ENCODING, UNSUPPORTED_ENCODING
from sluice_ingest.budget import Lease

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

AT_ONCE = 4
"""Bodies inflated in threads at the same time; a zstd decoder takes 8 MiB for its window."""

_ZSTD_WINDOW_LOG = 23
"""8 MiB, the window every zstd decoder must support (RFC 8878); a frame may ask for gigabytes."""
_INLINE_BYTES = 32 * KIB
_INLINE_INFLATED = 256 * KIB
"""Above either, inflating takes longer than handing it to a thread."""
_FEED = 64 * KIB
"""Fed to a decoder at a time: what it does not use it copies."""
_SMALLEST_STEP = 1024 * KIB


class Inflater:
    """Inflates the bodies of all requests of this process."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def inflate(self, body: bytes, encoding: bytes | None, limit: int, lease: Lease) -> bytes:
        """The body without its Content-Encoding; the lease, which covers the body, covers both while this runs.

        Raises Refusal with UNSUPPORTED_ENCODING, CORRUPT_ENCODING, OVERLOADED, or BODY_TOO_LARGE as soon as `limit` is
        passed.
        """
        name = (encoding or b"").strip().lower()
        if name in {b"", b"identity"}:
            return body
        make_decoder = _DECODERS.get(name)
        if make_decoder is None:
            raise Refusal(UNSUPPORTED_ENCODING)
        if len(body) <= _INLINE_BYTES:
            stream = _Stream(make_decoder(body), body)
            data = stream.read(min(limit, _INLINE_INFLATED) + 1)
            if len(data) > limit:
                raise _too_large(limit)
            if stream.ended:
                lease.resize(len(data))
                return data
            del stream  # what it has done so far is done again below, where there may be a wait: it holds memory
        async with self._slots:
            data = await _inflate(_Stream(make_decoder(body), body), len(body), limit, lease)
        lease.resize(len(data))
        return data


async def _inflate(stream: "_Stream", sent: int, limit: int, lease: Lease) -> bytes:
    parts: list[bytes] = []
    size = 0
    step = max(_SMALLEST_STEP, sent)
    while not stream.ended:
        step = min(step, limit + 1 - size)
        lease.resize(sent + size + step)
        part = await asyncio.to_thread(stream.read, step)
        parts.append(part)
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        step = size
    return b"".join(parts)


def _too_large(limit: int) -> Refusal:
    return Refusal(BODY_TOO_LARGE, f"The inflated body exceeds {limit} bytes.")


class _Decoder(Protocol):
    """What zlib's and zstd's decoders have in common."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Stream:
    """A body on its way through a decoder."""

    def __init__(self, decoder: _Decoder, body: bytes) -> None:
        self._decoder = decoder
        self._body = body
        self._fed = 0
        self.ended = False

    def read(self, most: int) -> bytes:
        """The next bytes, fewer than `most` only at the end. Raises Refusal with CORRUPT_ENCODING."""
        decoder = self._decoder
        parts: list[bytes] = []
        size = 0
        try:
            while size < most and not decoder.eof:
                # zlib gives back what it did not use; zstd keeps it, and then wants nothing.
                kept: bytes = getattr(decoder, "unconsumed_tail", b"")
                feed = kept
                if not kept and getattr(decoder, "needs_input", True):
                    feed = self._body[self._fed : self._fed + _FEED]
                    self._fed += len(feed)
                part = decoder.decompress(feed, most - size)
                if not part and not feed and not decoder.eof:
                    raise Refusal(CORRUPT_ENCODING, _INCOMPLETE)
                parts.append(part)
                size += len(part)
        except (zlib.error, zstd.ZstdError):
            raise Refusal(CORRUPT_ENCODING) from None
        if decoder.eof:
            if decoder.unused_data or self._fed < len(self._body):
                raise Refusal(CORRUPT_ENCODING, _INCOMPLETE)
            self.ended = True
        return b"".join(parts)


_INCOMPLETE = "The compressed body must be one complete stream and nothing after it."


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
