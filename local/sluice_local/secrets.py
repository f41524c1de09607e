"""Tenants' secrets as files of the data directory, where a cluster has Kubernetes Secrets.

Invariant: a file is complete or not there, and only its owner can read it.
"""

from pathlib import Path

from sluice_core.edge.secrets import TenantSecret
from sluice_local.files import make_directory, read_struct, write_struct


class FileSecrets:
    """`DATA/secrets/<tenant id>.json`, mode 0600."""

    def __init__(self, data_dir: Path) -> None:
        self._directory = data_dir / "secrets"

    def load(self, tenant_id: str) -> TenantSecret | None:
        """The secret, or None when there is none. Raises DataDirectoryDamagedError."""
        return read_struct(self._path(tenant_id), TenantSecret, "delete it and apply the tenant again")

    async def read(self, tenant_id: str) -> TenantSecret | None:
        """As `load`."""
        return self.load(tenant_id)

    async def write(self, tenant_id: str, secret: TenantSecret) -> None:
        """Create or replace the secret."""
        make_directory(self._directory)
        write_struct(self._path(tenant_id), secret)

    async def delete(self, tenant_id: str) -> None:
        """Remove the secret; none there is fine."""
        self._path(tenant_id).unlink(missing_ok=True)

    def _path(self, tenant_id: str) -> Path:
        return self._directory / f"{tenant_id}.json"
