"""Where a running stack can be reached, as a file for scripts and harnesses.

Invariant: `DATA/endpoints.json` is written by the stack alone, whole or not at all, readable by its owner only; it is
there exactly while the stack is ready for use.
"""

from pathlib import Path

import msgspec

from sluice_local.files import read_struct, write_struct

FILE_NAME = "endpoints.json"


class TenantAccess(msgspec.Struct, frozen=True):
    """What one tenant's owner needs."""

    key: str
    """Its first ingest key; empty when it has none."""
    mongodb: str
    """Read-only URI of its database."""


class Endpoints(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file."""

    ingest: str
    """Base URL; records go to `/ingest` below it."""
    nats: str
    """URL with the operator's user and password."""
    mongodb: str
    """URI with the administrator's user and password."""
    metrics: dict[str, str]
    """URL of the metrics of each part."""
    pids: dict[str, int]
    tenants: dict[str, TenantAccess]

    @classmethod
    def load(cls, data_dir: Path) -> "Endpoints | None":
        """The file's content, None when no stack is ready there. Raises DataDirectoryDamagedError."""
        return read_struct(data_dir / FILE_NAME, cls, "restart the stack")

    def write(self, data_dir: Path) -> None:
        """Replace the file."""
        write_struct(data_dir / FILE_NAME, self)


def remove_endpoints(data_dir: Path) -> None:
    """Say that nothing is ready there."""
    (data_dir / FILE_NAME).unlink(missing_ok=True)
