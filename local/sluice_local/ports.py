"""The TCP ports of one data directory's servers.

They are remembered because a MongoDB replica set knows its member by host and port, and because clients of a server
that is started again should find it where it was. Invariant: the database's port never changes in a data directory.
"""

import secrets
import socket
from pathlib import Path
from typing import Self

import msgspec

from sluice_local.errors import LocalStackError, PortTakenError
from sluice_local.files import read_struct, write_struct

HOST = "127.0.0.1"
"""Everything in the stack listens here and nowhere else."""

FILE_NAME = "ports.json"

# Below the range systems take outgoing ports from (32768 up): a client that keeps trying a closed port inside that
# range is some day given it as its own and then talks to itself. Also below Kubernetes' node ports (30000 up).
_FIRST = 20_000
_LAST = 29_999
_TRIES = 200


class Ports(msgspec.Struct, frozen=True, kw_only=True):
    """Where the servers of one data directory listen on 127.0.0.1."""

    nats: int
    nats_monitor: int
    mongod: int

    @property
    def nats_url(self) -> str:
        """The broker's address, without a user."""
        return f"nats://{HOST}:{self.nats}"

    @property
    def mongodb_host(self) -> str:
        """The database's address as `host:port`, as the replica set knows it."""
        return f"{HOST}:{self.mongod}"

    @classmethod
    def load(cls, data_dir: Path) -> Self | None:
        """The ports last chosen for `data_dir`, or None when no stack ever ran there.

        Raises DataDirectoryDamagedError.
        """
        return read_struct(
            data_dir / FILE_NAME,
            cls,
            "restore it from a backup, or move the data directory away to start afresh",
        )

    @classmethod
    def choose(cls, data_dir: Path, *, nats: int = 0, mongod: int = 0) -> Self:
        """Ports to start with, remembered in `data_dir` when this returns.

        A given port is taken as it is; 0 means the remembered one if it is still free, else any free one.
        Raises PortTakenError, LocalStackError, DataDirectoryDamagedError.
        """
        last = cls.load(data_dir)
        chosen = cls(
            nats=_given_or_kept(nats, last.nats if last else 0, "the broker"),
            nats_monitor=_given_or_kept(0, last.nats_monitor if last else 0, "the broker's monitoring"),
            mongod=_fixed(mongod, last.mongod, data_dir) if last else _given_or_kept(mongod, 0, "the database"),
        )
        if chosen != last:
            write_struct(data_dir / FILE_NAME, chosen)
        return chosen


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` of 127.0.0.1 now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as attempt:
        # As the servers do: connections that ended a moment ago must not count.
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind((HOST, port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on at this moment.

    Raises PortTakenError when none was found.
    """
    for _ in range(_TRIES):
        port = _FIRST + secrets.randbelow(_LAST - _FIRST + 1)
        if is_free(port):
            return port
    raise PortTakenError(f"no free port was found between {_FIRST} and {_LAST}; stop some other servers")


def require_free(port: int, purpose: str) -> None:
    """Raise PortTakenError if another program listens on `port`, which `purpose` needs."""
    if not is_free(port):
        raise PortTakenError(f"port {port}, which {purpose} needs, is in use by another program; stop that program")


def _given_or_kept(given: int, kept: int, purpose: str) -> int:
    if given:
        require_free(given, purpose)
        return given
    return kept if kept and is_free(kept) else free_port()


def _fixed(given: int, known: int, data_dir: Path) -> int:
    if given not in (0, known):
        raise LocalStackError(
            f"the database in {data_dir} was made on port {known} and cannot move to {given}; "
            f"use port {known}, or another data directory"
        )
    require_free(known, f"the database in {data_dir}")
    return known
