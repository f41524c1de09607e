"""Tenants' secrets as files of the data directory, where a cluster has Kubernetes Secrets.

Invariant: a file is complete or not there, and only its owner can read it.
"""

from pathlib import Path

import msgspec

from sluice_core.edge.secrets import TenantSecret
from sluice_local.errors import DataDirectoryDamagedError
from sluice_local.files import make_directory, read_private, write_private


class FileSecrets:
    """`DATA/secrets/<tenant id>.json`, mode 0600."""

    def __init__(self, data_dir: Path) -> None:
        self._directory = data_dir / "secrets"

    def load(self, tenant_id: str) -> TenantSecret | None:
        """The secret, or None when there is none. Raises DataDirectoryDamagedError."""
        path = self._path(tenant_id)
        content = read_private(path)
        if content is None:
            return None
        try:
            return msgspec.json.decode(content, type=TenantSecret)
        except msgspec.MsgspecError:
            raise DataDirectoryDamagedError(f"{path} is damaged; delete it and apply the tenant again") from None

    async def read(self, tenant_id: str) -> TenantSecret | None:
        """As `load`."""
        return self.load(tenant_id)

    async def write(self, tenant_id: str, secret: TenantSecret) -> None:
        """Create or replace the secret."""
        make_directory(self._directory)
        write_private(self._path(tenant_id), msgspec.json.format(msgspec.json.encode(secret)) + b"\n")

    async def delete(self, tenant_id: str) -> None:
        """Remove the secret; none there is fine."""
        self._path(tenant_id).unlink(missing_ok=True)

    def _path(self, tenant_id: str) -> Path:
        return self._directory / f"{tenant_id}.json"
