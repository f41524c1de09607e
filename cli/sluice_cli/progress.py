"""How far a file was sent, so that an interrupted `send` goes on where it was, and what shows it on the screen.

Invariant: the offset on disk is one up to which every line was answered for; sending on from it, or from any earlier
one, stores nothing twice, since ids depend on place and text only.
"""

import heapq
import os
from hashlib import sha256
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from sluice_cli.lines import Batch
from sluice_core.errors import SluiceError

SUFFIX = ".sluice-progress"
_HEAD_BYTES = 4096


class ProgressError(SluiceError):
    """The file that remembers the progress cannot be used."""


class SavedProgress(msgspec.Struct, kw_only=True):
    """What is on disk."""

    tenant_id: str
    source: str
    offset: int
    head: str
    """Digest of the file's beginning, to notice that it is another file by now."""


class Floor:
    """The offset up to which everything is settled, while batches settle in any order."""

    def __init__(self, offset: int) -> None:
        self.offset = offset
        self._done: list[tuple[int, int]] = []

    def settle(self, batch: Batch) -> None:
        """This batch is done."""
        heapq.heappush(self._done, (batch.start, batch.end))
        while self._done and self._done[0][0] <= self.offset:
            self.offset = max(self.offset, heapq.heappop(self._done)[1])


class ProgressFile:
    """The progress of sending one regular file to one tenant."""

    def __init__(self, path: Path, file: Path, tenant_id: str, source: str) -> None:
        self._path = path
        self._file = file
        self._tenant_id = tenant_id
        self._source = source

    def load(self) -> int:
        """The offset to go on from; 0 when nothing was sent yet. Raises ProgressError."""
        try:
            saved = msgspec.json.decode(self._path.read_bytes(), type=SavedProgress)
        except FileNotFoundError:
            return 0
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            raise ProgressError(f"{self._path} cannot be read: remove it to send from the beginning") from None
        if saved.tenant_id != self._tenant_id:
            raise ProgressError(f"{self._path} is about sending to tenant {saved.tenant_id}: name another by --state")
        size = self._file.stat().st_size
        if saved.source != self._source or size < saved.offset or saved.head != _head(self._file, saved.offset):
            raise ProgressError(
                f"{self._path} is about another file than {self._file} is now: remove it to send from the beginning"
            )
        return saved.offset

    def save(self, offset: int) -> None:
        """Remember that everything before `offset` was answered for. Raises ProgressError."""
        saved = SavedProgress(
            tenant_id=self._tenant_id, source=self._source, offset=offset, head=_head(self._file, offset)
        )
        draft = self._path.with_name(self._path.name + ".new")
        try:
            draft.write_bytes(msgspec.json.encode(saved) + b"\n")
            draft.replace(self._path)
        except OSError as error:
            raise ProgressError(
                f"{self._path} cannot be written ({error.strerror}): choose a place by --state, or leave out --resume"
            ) from None


def source_of_file(path: Path) -> str:
    """What names a file in the ids of its lines: its place on this machine, so a copy elsewhere is another source."""
    status = path.stat()
    identity = f"{os.uname().nodename}\0{path.resolve()}\0{status.st_dev}\0{status.st_ino}"
    return sha256(identity.encode(errors="surrogateescape")).hexdigest()[:16]


def make_bar(console: Console) -> Progress:
    """A progress bar over bytes; draws nothing where nobody looks."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[state]}"),
        console=console,
        disable=not console.is_terminal,
    )


def make_counter(console: Console) -> Progress:
    """A progress bar over things; draws nothing where nobody looks."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def _head(file: Path, offset: int) -> str:
    with file.open("rb") as handle:
        return sha256(handle.read(min(offset, _HEAD_BYTES))).hexdigest()[:16]
