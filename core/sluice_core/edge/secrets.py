"""Where a tenant's secrets live: its ingest keys and the password of its reader.

On a cluster that is a Kubernetes Secret, on a laptop a file; provisioning sees only this protocol. Invariant: nothing
else ever holds a key or password in the clear, and what a store holds counts only if its digest is in the registry.
"""

from hashlib import sha256
from typing import Protocol

import msgspec


class TenantSecret(msgspec.Struct, frozen=True):
    """What a tenant's owner gets."""

    keys: dict[str, str] = {}
    """Ingest keys by name."""
    reader_password: str = ""
    mongodb_uri: str = ""
    """Read-only, for the tenant's own database."""


class SecretStore(Protocol):
    """Reads and writes the secret of one tenant."""

    async def read(self, tenant_id: str) -> TenantSecret | None:
        """The secret, or None when there is none."""
        ...

    async def write(self, tenant_id: str, secret: TenantSecret) -> None:
        """Create or replace the secret; durable when this returns."""
        ...

    async def delete(self, tenant_id: str) -> None:
        """Remove the secret; none there is fine."""
        ...


def password_digest(password: str) -> str:
    """How the registry remembers a password that a machine generated."""
    return sha256(password.encode()).hexdigest()
