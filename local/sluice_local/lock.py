"""The lock on a data directory: two stacks must never share one.

Invariant: it is held as long as the stack's owner or any of its servers lives, since the servers inherit it. So a new
start waits for servers of a killed owner to vanish instead of running into them.
"""

import asyncio
import fcntl
import os
from pathlib import Path

from sluice_local.errors import DataDirectoryDamagedError, DataDirectoryInUseError
from sluice_local.files import make_directory

FILE_NAME = "lock"

_PATIENCE = 10.0
"""Seconds that servers of a killed owner may take to vanish: the kernel kills them at once, a busy disk delays it."""

_PAUSE = 0.05


class DirectoryLock:
    """The lock on one data directory. Free until `acquire`."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._handle: int | None = None

    @property
    def handle(self) -> int:
        """The file descriptor to hand to the servers; only while the lock is held."""
        if self._handle is None:
            raise RuntimeError("the lock is not held")
        return self._handle

    async def acquire(self, patience: float = _PATIENCE) -> None:
        """Take the lock, making the directory if need be.

        Raises DataDirectoryInUseError at once when its holder lives, and after `patience` seconds when only servers
        of a dead holder do; DataDirectoryDamagedError where the directory cannot be used.
        """
        path = make_directory(self._data_dir) / FILE_NAME
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise DataDirectoryDamagedError(
                f"{path} cannot be opened ({error.strerror}); choose another data directory"
            ) from None
        try:
            await self._take(handle, patience)
        except BaseException:
            os.close(handle)
            raise
        self._handle = handle

    def release(self) -> None:
        """Give the lock back; nothing happens when it is not held."""
        # Closing, not LOCK_UN: that would also take it from servers that still run.
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    async def _take(self, handle: int, patience: float) -> None:
        deadline = asyncio.get_running_loop().time() + patience
        while not _try_lock(handle):
            owner = _owner(handle)
            if owner is not None and _lives(owner):
                raise DataDirectoryInUseError(
                    f"another Sluice (process {owner}) is running on {self._data_dir}; "
                    "stop it, or use another data directory"
                )
            if asyncio.get_running_loop().time() >= deadline:
                raise DataDirectoryInUseError(
                    f"servers that process {owner} left behind still run on {self._data_dir}; "
                    "stop nats-server and mongod, then try again"
                )
            await asyncio.sleep(_PAUSE)
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _owner(handle: int) -> int | None:
    content = os.pread(handle, 32, 0)
    return int(content) if content.isdigit() else None


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
