"""The stack's own small files: passwords, keys, configuration, ports.

They exist apart from the servers' data because most hold secrets. Invariant: at no moment can another user read one,
and a reader sees the old content or the new, never half of it.
"""

import os
from pathlib import Path
from typing import TypeVar

import msgspec

from sluice_local.errors import DataDirectoryDamagedError

Content = TypeVar("Content", bound=msgspec.Struct)


def make_directory(path: Path) -> Path:
    """Make `path` with mode 0700, parents included; one that exists keeps its mode.

    Raises DataDirectoryDamagedError where that is not possible.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DataDirectoryDamagedError(
            f"{path} cannot be used as a directory ({error.strerror}); choose another data directory"
        ) from None
    return path


def write_private(path: Path, content: bytes) -> None:
    """Replace `path` by `content`, mode 0600, durable when this returns.

    Raises DataDirectoryDamagedError where that is not possible.
    """
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        _sync_directory(path.parent)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise DataDirectoryDamagedError(
            f"{path} cannot be written ({error.strerror}); check the disk's free space and the directory's owner"
        ) from None


def read_private(path: Path) -> bytes | None:
    """The content of `path`, or None where there is no such file.

    Raises DataDirectoryDamagedError where it cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataDirectoryDamagedError(
            f"{path} cannot be read ({error.strerror}); run as the user who made the data directory"
        ) from None


def read_struct(path: Path, kind: type[Content], advice: str) -> Content | None:
    """The content of a JSON file as `kind`, or None where there is no such file.

    Raises DataDirectoryDamagedError where it cannot be read or says something else; `advice` is what to do then.
    """
    content = read_private(path)
    if content is None:
        return None
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.MsgspecError:
        raise DataDirectoryDamagedError(f"{path} is damaged; {advice}") from None


def write_struct(path: Path, content: msgspec.Struct) -> None:
    """Replace `path` by `content` as JSON that people can read, as `write_private` does."""
    write_private(path, msgspec.json.format(msgspec.json.encode(content)) + b"\n")


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
