"""The generated passwords of one data directory.

They exist so that the embedded stack runs with the same users and permissions as a cluster, on loopback too.
Invariant: made once, kept in a file only its owner can read, and never shown by `repr`.
"""

import secrets
from pathlib import Path
from typing import Annotated, Self

import msgspec

from sluice_local.files import make_directory, read_struct, write_struct

FILE_NAME = "credentials.json"

INGEST_USER = "ingest"
WORKER_USER = "worker"
OPERATOR_USER = "operator"
ADMIN_USER = "sluice_admin"
"""The database's root user. The worker's is `sluice_core.names.WORKER_USER`."""

Password = Annotated[str, msgspec.Meta(min_length=16)]
"""An empty or cut-off one must not come out of a damaged file."""


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """All secrets of one stack.

    `nats_*` are passwords of the broker's users `ingest`, `worker` and `operator`; `mongodb_admin` of the database's
    user `sluice_admin`, `mongodb_worker` of `sluice_worker`; `worker_master_secret` is 32 bytes in hexadecimal.
    """

    nats_ingest: Password
    nats_worker: Password
    nats_operator: Password
    mongodb_admin: Password
    mongodb_worker: Password
    worker_master_secret: Password

    def __repr__(self) -> str:
        return "Credentials(...)"

    @classmethod
    def generate(cls) -> Self:
        """New ones from the system's random source."""
        return cls(
            nats_ingest=secrets.token_urlsafe(24),
            nats_worker=secrets.token_urlsafe(24),
            nats_operator=secrets.token_urlsafe(24),
            mongodb_admin=secrets.token_urlsafe(24),
            mongodb_worker=secrets.token_urlsafe(24),
            worker_master_secret=secrets.token_hex(32),
        )

    @classmethod
    def load(cls, data_dir: Path) -> Self | None:
        """The credentials kept in `data_dir`, or None when no stack ever ran there.

        Raises DataDirectoryDamagedError.
        """
        return read_struct(
            data_dir / FILE_NAME,
            cls,
            "without it the data beside it cannot be opened: restore it from a backup, "
            "or move the data directory away to start afresh",
        )

    @classmethod
    def load_or_create(cls, data_dir: Path) -> Self:
        """The credentials kept in `data_dir`, made there first if need be. The caller holds the directory's lock.

        Raises DataDirectoryDamagedError.
        """
        kept = cls.load(data_dir)
        if kept is not None:
            return kept
        made = cls.generate()
        write_struct(make_directory(data_dir) / FILE_NAME, made)
        return made
