"""From bytes to batches of lines, each with its place. Pure, but for the three functions that read.

Invariant: every byte of the input lies in exactly one batch's range, in order, whether its line is sent or not; and a
line is sent exactly as it is or not at all. What is not sent is counted, by reason.
"""

import asyncio
import os
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from sluice_core.limits import MIB
from sluice_core.reasons import INVALID_TEXT, RECORD_TOO_LARGE

MAX_LINE_BYTES = MIB
"""No tenant's limit is higher, so a longer line is never accepted, and is not held in memory to find that out."""
MAX_BATCH_BYTES = 2 * MIB
_CHUNK_BYTES = 256 * 1024
_LINGER_SECONDS = 0.2
"""How long a stream may be silent before what has come is sent."""
_DIGEST_LENGTH = 12


class Line(NamedTuple):
    """One line without its end, and the offset it begins at."""

    start: int
    text: str


class Batch(NamedTuple):
    """Lines to be sent in one request, and the range of the input they are all of."""

    start: int
    end: int
    lines: list[Line]


class LineReader:
    """Takes chunks, gives lines. LF or CRLF ends a line; blank lines are none."""

    def __init__(self, offset: int = 0) -> None:
        self.offset = offset
        """End of the last line given or counted."""
        self.refused: Counter[str] = Counter()
        """Lines that cannot be sent, by reason."""
        self.blank = 0
        self._rest = b""
        self._skipped = 0
        """Bytes of an endless line that were let go of."""

    def feed(self, chunk: bytes) -> list[Line]:
        """The lines that end in this chunk."""
        *whole, rest = (self._rest + chunk).split(b"\n")
        lines = [line for raw in whole if (line := self._take(raw, ended=True)) is not None]
        if len(rest) > MAX_LINE_BYTES:
            self._skipped += len(rest)
            rest = b""
        self._rest = rest
        return lines

    def finish(self) -> list[Line]:
        """The last line, if the input does not end with a line's end."""
        raw, self._rest = self._rest, b""
        if not raw and not self._skipped:
            return []
        line = self._take(raw, ended=False)
        return [] if line is None else [line]

    def _take(self, raw: bytes, *, ended: bool) -> Line | None:
        start = self.offset
        size, self._skipped = self._skipped + len(raw), 0
        self.offset += size + ended
        raw = raw.removesuffix(b"\r")
        if size > MAX_LINE_BYTES:
            self.refused[RECORD_TOO_LARGE.code] += 1
            return None
        if not raw.strip():
            self.blank += 1
            return None
        try:
            return Line(start, raw.decode("utf-8"))
        except UnicodeDecodeError:
            self.refused[INVALID_TEXT.code] += 1
            return None


def split_batches(reader: LineReader, lines: Iterable[Line], begun: Batch, most: int) -> tuple[list[Batch], Batch]:
    """Add lines to the batch begun; the batches that are full, and the new one begun, which ends where `reader` is."""
    full: list[Batch] = []
    start, pending = begun.start, begun.lines
    size = sum(len(line.text) for line in pending)
    for line in lines:
        if pending and (len(pending) >= most or size + len(line.text) > MAX_BATCH_BYTES):
            full.append(Batch(start, line.start, pending))
            start, pending, size = line.start, [], 0
        pending.append(line)
        size += len(line.text)
    return full, Batch(start, reader.offset, pending)


async def read_batches(chunks: AsyncIterator[bytes], reader: LineReader, most: int) -> AsyncIterator[Batch]:
    """Batches of at most `most` lines. An empty chunk means a pause: what has come by then is not held back."""
    begun = Batch(reader.offset, reader.offset, [])
    async for chunk in chunks:
        full, begun = split_batches(reader, reader.feed(chunk), begun, most)
        for batch in full:
            yield batch
        if begun.lines and (not chunk or len(begun.lines) >= most):
            yield begun
            begun = Batch(begun.end, begun.end, [])
    full, begun = split_batches(reader, reader.finish(), begun, most)
    for batch in full:
        yield batch
    if begun.end > begun.start:
        yield begun


async def read_file(path: Path, offset: int = 0) -> AsyncIterator[bytes]:
    """The chunks of a regular file, from `offset` on. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.lseek(handle, offset, os.SEEK_SET)
        while chunk := await asyncio.to_thread(os.read, handle, _CHUNK_BYTES):
            yield chunk
    finally:
        os.close(handle)


async def read_stream(handle: int) -> AsyncIterator[bytes]:
    """The chunks of a pipe or terminal as they come, with an empty one for each pause, until its end."""
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[bytes] = asyncio.Queue()
    wanted = threading.Semaphore(4)

    def read() -> None:
        # A thread, since files and terminals behind `-` know no readiness; a daemon, since it may wait for ever.
        chunk = b"."
        while chunk:
            wanted.acquire()
            try:
                chunk = os.read(handle, _CHUNK_BYTES)
                loop.call_soon_threadsafe(arrived.put_nowait, chunk)
            except (OSError, RuntimeError):  # the loop is gone, or the stream is
                return

    threading.Thread(target=read, daemon=True, name="stream").start()
    while True:
        try:
            async with asyncio.timeout(_LINGER_SECONDS):
                chunk = await arrived.get()
        except TimeoutError:
            yield b""
            continue
        if not chunk:
            return
        wanted.release()
        yield chunk


def record_id(source: str, line: Line) -> str:
    """The id of a line: the same for the same text at the same place of the same source, and for nothing else."""
    return f"{source}-{line.start:012d}-{text_digest(line.text)}"


def text_digest(text: str) -> str:
    """What stands for the text in its id."""
    return sha256(text.encode()).hexdigest()[:_DIGEST_LENGTH]


def holds_text(log_id: str, text: str) -> bool:
    """Whether this text was sent under this id."""
    return log_id.endswith("-" + text_digest(text))
