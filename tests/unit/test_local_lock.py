"""The lock that keeps two stacks off one data directory."""

import os
from pathlib import Path

import pytest

from sluice_local.errors import DataDirectoryDamagedError, DataDirectoryInUseError
from sluice_local.lock import FILE_NAME, DirectoryLock


async def test_it_is_taken_once(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path / "data")
    await lock.acquire()
    try:
        with pytest.raises(DataDirectoryInUseError, match=f"process {os.getpid()}"):
            await DirectoryLock(tmp_path / "data").acquire()
    finally:
        lock.release()


async def test_it_can_be_taken_again_after_its_release(tmp_path: Path) -> None:
    for _ in range(2):
        lock = DirectoryLock(tmp_path)
        await lock.acquire()
        lock.release()


async def test_a_lock_file_left_by_a_dead_process_does_not_hold_it(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("999999999")
    lock = DirectoryLock(tmp_path)
    await lock.acquire()
    lock.release()


async def test_a_server_that_outlives_its_owner_still_holds_it(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path)
    await lock.acquire()
    # A copy of the descriptor, which is what a child process has.
    inherited = os.dup(lock.handle)
    lock.release()
    (tmp_path / FILE_NAME).write_text("999999999")
    next_owner = DirectoryLock(tmp_path)
    with pytest.raises(DataDirectoryInUseError, match="process 999999999 left behind"):
        await next_owner.acquire(patience=0.1)
    os.close(inherited)
    await next_owner.acquire(patience=0.1)
    next_owner.release()


async def test_a_directory_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataDirectoryDamagedError, match="choose another data directory"):
        await DirectoryLock(tmp_path / "file" / "data").acquire()
