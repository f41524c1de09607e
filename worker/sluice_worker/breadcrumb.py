"""A note of which records native code is about to see, in a file that outlives the process.

Whoever is named in an unfinished note after a start is a suspect; a suspect named alone in one is a culprit. Both are
remembered in the same file, so the next crash forgets nobody. Records are known by their version, which they keep on
every detour. Invariants: the file has one owner and one size; writing to it is writing to memory, and what was written
when the process is killed is there at the next start (what a machine forgets that loses power was no crash of ours).
"""

import fcntl
import logging
import mmap
import os
import struct
from array import array
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from sluice_core.version import Version

log = logging.getLogger(__name__)

NOTE_RECORDS = 4096
SUSPECT_RECORDS = 16384
CULPRIT_RECORDS = 1024
_MAGIC = b"SLCRUMB1"
_COUNT = struct.Struct("<Q")
_VERSION = struct.Struct("=3Q")
_NOTE = 16
"""Where the note begins; before it are the magic and the number of records in it."""
_SUSPECTS = _NOTE + NOTE_RECORDS * _VERSION.size
_CULPRITS = _SUSPECTS + SUSPECT_RECORDS * _VERSION.size
_SIZE = _CULPRITS + CULPRIT_RECORDS * _VERSION.size
_MOST_FILES = 64
_NOBODY = bytes(_VERSION.size)


class Breadcrumb:
    """The file of one worker. Made by `open_breadcrumb`."""

    def __init__(self, handle: int) -> None:
        """`handle` is an open, locked file, which this owns from now on. Raises OSError."""
        self._handle = handle
        self._memory = _map(handle)
        self._suspects = _Places(self._memory, _SUSPECTS, SUSPECT_RECORDS)
        self._culprits = _Places(self._memory, _CULPRITS, CULPRIT_RECORDS)
        self._learn()

    @property
    def suspects(self) -> int:
        """How many records have to be tried alone."""
        return len(self._suspects)

    @property
    def watching(self) -> bool:
        """Whether any record is a suspect or a culprit; mostly none is."""
        return bool(len(self._suspects) or len(self._culprits))

    def is_suspect(self, version: Version) -> bool:
        """Whether the process ended at a batch with this record in it."""
        return version in self._suspects

    def is_culprit(self, version: Version) -> bool:
        """Whether the process ended at this record alone, after it had been a suspect."""
        return version in self._culprits

    def begin(self, versions: Sequence[Version]) -> None:
        """Note these records, at most NOTE_RECORDS, before native code sees them."""
        packed = array("Q", chain.from_iterable(version.numbers() for version in versions)).tobytes()
        self._memory[_NOTE : _NOTE + len(packed)] = packed
        self._memory[8:_NOTE] = _COUNT.pack(len(versions))

    def end(self) -> None:
        """Native code came back: the note is done with."""
        self._memory[8:_NOTE] = _COUNT.pack(0)

    def acquit(self, version: Version) -> None:
        """This record survived alone."""
        self._suspects.remove(version)

    def forget(self, version: Version) -> None:
        """This culprit was set aside; should it be replayed one day, it gets a new trial."""
        self._culprits.remove(version)

    def close(self) -> None:
        """Give the file up; another worker may take it over."""
        self._memory.close()
        os.close(self._handle)

    def _learn(self) -> None:
        """Turn the unfinished note, if there is one, into suspects or a culprit."""
        (count,) = _COUNT.unpack(self._memory[8:_NOTE])
        named = [Version(*_VERSION.unpack_from(self._memory, _NOTE + place * _VERSION.size)) for place in range(count)]
        if count == 1 and named[0] in self._suspects:
            self._culprits.add(named[0])
            self._suspects.remove(named[0])
            log.error("a record ended this worker's process twice; it will be a dead letter")
        elif named:
            for version in named:
                self._suspects.add(version)
            log.warning("the process ended while it prepared records", extra={"suspects": len(self._suspects)})
        self.end()


class _Places:
    """A set of versions in a part of the file; full, it forgets the one it has had for longest."""

    def __init__(self, memory: mmap.mmap, start: int, number: int) -> None:
        self._memory = memory
        self._start = start
        self._place: dict[Version, int] = {}
        free: list[int] = []
        for place in range(number):
            version = Version(*_VERSION.unpack_from(memory, start + place * _VERSION.size))
            if any(version.numbers()):
                self._place[version] = place
            else:
                free.append(place)
        self._free = free[::-1]

    def __len__(self) -> int:
        return len(self._place)

    def __contains__(self, version: Version) -> bool:
        return version in self._place

    def add(self, version: Version) -> None:
        if version in self._place:
            return
        if not self._free:
            self.remove(next(iter(self._place)))
        place = self._free.pop()
        self._place[version] = place
        self._write(place, _VERSION.pack(*version.numbers()))

    def remove(self, version: Version) -> None:
        place = self._place.pop(version, None)
        if place is not None:
            self._free.append(place)
            self._write(place, _NOBODY)

    def _write(self, place: int, content: bytes) -> None:
        begin = self._start + place * _VERSION.size
        self._memory[begin : begin + _VERSION.size] = content


def open_breadcrumb(directory: str) -> Breadcrumb | None:
    """The first file in `directory` that no other worker uses.

    None, with a log line, where `directory` is empty or there can be no such file: work goes on without.
    """
    if not directory:
        log.warning("SLUICE_STATE_DIR is not set: a record that ends this process will do so each time it is delivered")
        return None
    try:
        Path(directory).mkdir(mode=0o700, parents=True, exist_ok=True)
        for number in range(_MOST_FILES):
            handle = os.open(Path(directory, f"crumb-{number}"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                continue
            try:
                return Breadcrumb(handle)
            except BaseException:
                os.close(handle)
                raise
    except OSError as error:
        log.error("no notes can be kept in SLUICE_STATE_DIR", extra={"error": error.strerror})
        return None
    log.error("all files in SLUICE_STATE_DIR are in use")
    return None


def _map(handle: int) -> mmap.mmap:
    """The file as memory, made anew unless it is one of ours and whole."""
    if os.fstat(handle).st_size != _SIZE or not _is_ours(os.pread(handle, _NOTE, 0)):
        if os.fstat(handle).st_size:
            log.warning("the notes in SLUICE_STATE_DIR cannot be read, and are begun anew")
        os.ftruncate(handle, 0)
        # All of it is written: on a full disk a hole in the file would end the process when it is first used.
        os.pwrite(handle, _MAGIC + bytes(_SIZE - len(_MAGIC)), 0)
        if os.fstat(handle).st_size != _SIZE:
            raise OSError(0, "no space")
    return mmap.mmap(handle, _SIZE)


def _is_ours(head: bytes) -> bool:
    return head.startswith(_MAGIC) and _COUNT.unpack(head[len(_MAGIC) :])[0] <= NOTE_RECORDS
