"""Disks of the tests' own, which lose power, run full and stall for real: ext4 in a file, through a loop device.

What was written and not flushed is in the memory of the inner file system and not in the file, so a copy of the file is
what a power failure leaves. (A drive that loses what it said it had flushed is not among the faults: the loop device
counts all it got as written.) Invariant: a mount ends with its context, and also when the process of the tests is
killed: a janitor of its own waits for the end of a pipe, and unmounts then.
"""

import asyncio
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import cache
from pathlib import Path

from sluice_core.tasks import end
from support.commands import command

_JANITOR = """
cat >/dev/null
for try in $(seq 100); do
  mountpoint -q "$1" || exit 0
  fsfreeze -u "$1" 2>/dev/null
  umount "$1" 2>/dev/null && exit 0
  sleep 0.1
done
umount -l "$1" && exit 3
"""
"""Exit code 3: somebody still had a file open there after ten seconds."""


class Disk:
    """One mounted file system."""

    def __init__(self, directory: Path, image: Path) -> None:
        self.directory = directory
        self._image = image
        self._ballast = image.with_suffix(".none")

    async def keep_what_is_flushed(self) -> Path:
        """Copy what would be there after a power failure at this moment, for `put_in`.

        Whoever writes has to stand still, so that it is the state of one moment.
        """
        copy = self._image.with_suffix(".after")
        await command("cp", "--sparse=always", self._image, copy)
        return copy

    async def put_in(self, image: Path) -> None:
        """Mount this instead. Nobody may have a file open here."""
        await command("umount", self.directory)
        await command("mv", image, self._image)
        await command("mount", "-o", "loop", self._image, self.directory)

    @property
    def free_bytes(self) -> int:
        """What may still be written."""
        status = os.statvfs(self.directory)
        return status.f_bavail * status.f_frsize

    async def fill(self, *, leaving: int) -> None:
        """Take all but so many bytes, with a file that is none of its users'."""
        self._ballast = self.directory / "ballast"
        await command("fallocate", "-l", str(self.free_bytes - leaving), self._ballast)

    @asynccontextmanager
    async def stalling(self, seconds: float, *, pause: float) -> AsyncIterator[None]:
        """Inside, every write waits, for so long at a time, and only in the pauses between these the disk works."""

        async def stall() -> None:
            while True:
                await command("fsfreeze", "-f", self.directory)
                await asyncio.sleep(seconds)
                await command("fsfreeze", "-u", self.directory)
                await asyncio.sleep(pause)

        stalling = asyncio.create_task(stall())
        try:
            yield
            assert not stalling.done(), stalling.exception()
        finally:
            await end(stalling)
            # It may have been frozen at that moment, and fails where it was not.
            with suppress(AssertionError):
                await command("fsfreeze", "-u", self.directory)

    def relieve(self) -> None:
        """Give them back."""
        self._ballast.unlink()


@asynccontextmanager
async def disk(directory: Path, *, megabytes: int) -> AsyncIterator[Disk]:
    """An empty file system at `directory`; its image lies beside it and takes only what is written."""
    await command("mkdir", "--parents", "--mode=0700", directory)
    image = directory.with_name(f"{directory.name}.disk")
    await command("truncate", "-s", f"{megabytes}M", image)
    # Nothing is kept back for root, which is who runs this: full is full.
    await command("mkfs.ext4", "-q", "-F", "-m", "0", image)
    janitor = await asyncio.create_subprocess_exec(
        *("sh", "-c", _JANITOR, "janitor", directory), stdin=asyncio.subprocess.PIPE, start_new_session=True
    )
    assert janitor.stdin is not None
    try:
        await command("mount", "-o", "loop", image, directory)
        await command("rmdir", directory / "lost+found")
        yield Disk(directory, image)
    finally:
        janitor.stdin.close()
        code = await janitor.wait()
    assert code == 0, f"{directory} could not be unmounted in order ({code})"


@cache
def why_no_disks() -> str | None:
    """Why there can be none here; None where there can."""
    if os.geteuid() != 0:
        return "not root"
    with tempfile.TemporaryDirectory(prefix="sluice-disk-") as folder:
        image, directory = Path(folder, "image"), Path(folder, "mounted")
        directory.mkdir()
        try:
            with image.open("wb") as file:
                file.truncate(4 * 1024 * 1024)
            for words in (
                ("mkfs.ext4", "-q", "-F", image),
                ("mount", "-o", "loop", image, directory),
                ("umount", directory),
            ):
                subprocess.run(words, check=True, capture_output=True, stdin=subprocess.DEVNULL)
        except (OSError, subprocess.CalledProcessError) as error:
            return f"no {error.filename}" if isinstance(error, OSError) else "no loop device may be mounted"
    return None
