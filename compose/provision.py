"""What the operator does on a cluster, once: streams, users and the tenants of a file, for compose.yaml.

Runs in the operator's image, through the same provisioning code. Invariant: running it again changes nothing, as long
as the file with the tenants' secrets is kept.
"""

import asyncio
import os
import sys
from pathlib import Path

import msgspec

from sluice_core.edge.broker import Broker
from sluice_core.edge.heartbeats import Roster
from sluice_core.edge.provision import Platform, Provisioner
from sluice_core.edge.repair import Repair
from sluice_core.edge.secrets import TenantSecret
from sluice_core.edge.store import connect
from sluice_core.errors import SluiceError
from sluice_core.limits import MIB
from sluice_core.manifest import load_tenants


class Login(msgspec.Struct, frozen=True):
    """How the operator logs in to the broker."""

    nats_url: str
    nats_user: str
    nats_password: str


class OneFile:
    """All tenants' secrets in one file of a volume."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def _all(self) -> dict[str, TenantSecret]:
        if not self._path.exists():
            return {}
        return msgspec.json.decode(self._path.read_bytes(), type=dict[str, TenantSecret])

    async def read(self, tenant_id: str) -> TenantSecret | None:
        """The secret, or None when there is none."""
        return self._all().get(tenant_id)

    async def write(self, tenant_id: str, secret: TenantSecret) -> None:
        """Create or replace it."""
        self._replace({**self._all(), tenant_id: secret})

    async def delete(self, tenant_id: str) -> None:
        """Remove it."""
        self._replace({other: secret for other, secret in self._all().items() if other != tenant_id})

    def _replace(self, secrets: dict[str, TenantSecret]) -> None:
        new = self._path.with_suffix(".new")
        new.touch(mode=0o600)
        new.write_bytes(msgspec.json.encode(secrets))
        new.replace(self._path)


async def provision(manifests: str, secrets: OneFile) -> None:
    """Everything that ingest and workers need, and the tenants. Raises SluiceError."""
    environ = os.environ
    broker = Broker(Login(environ["NATS_URL"], "operator", environ["NATS_PASSWORD"]))
    client = connect(environ["MONGODB_URI"])
    platform = Platform(
        mongodb_hosts=environ["MONGODB_HOSTS"],
        worker_password=environ["MONGODB_WORKER_PASSWORD"],
        dedicated_lane_max_bytes=128 * MIB,
    )
    provisioner = Provisioner(broker, client, secrets, platform)
    try:
        async with asyncio.timeout(60):
            await broker.connect()
        await Repair(broker, provisioner, roster=Roster(broker)).run()
        for tenant in load_tenants(manifests):
            claim = await provisioner.apply(tenant)
            secret = await secrets.read(claim.id)
            for name, key in (secret.keys if secret else {}).items():
                sys.stdout.write(f"tenant {claim.id}, key {name}: {key}\n")
    finally:
        await broker.close()
        client.close()


def main() -> int:
    """Try for as long as the servers start."""
    for _ in range(int(os.environ.get("TRIES", "60"))):
        try:
            asyncio.run(provision(Path(sys.argv[1]).read_text(), OneFile(Path(os.environ["SECRETS_FILE"]))))
        except (SluiceError, TimeoutError) as error:
            sys.stderr.write(f"waiting: {type(error).__name__}: {error}\n")
            asyncio.run(asyncio.sleep(1))
        else:
            return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
