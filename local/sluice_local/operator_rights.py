"""Opening a data directory's servers with the operator's rights.

`sluice up` holds such a connection for as long as it runs; `sluice tenants`, `keys` and `dlq` open one for a moment,
from another process. Invariant: everything provisions through the same `Provisioner`, with the same settings.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from sluice_core.edge.broker import Broker
from sluice_core.edge.deletion import Deletion
from sluice_core.edge.heartbeats import Roster
from sluice_core.edge.provision import Platform, Provisioner
from sluice_core.edge.repair import Repair
from sluice_core.edge.store import Client, connect
from sluice_core.limits import MIB
from sluice_local.credentials import ADMIN_USER, OPERATOR_USER, Credentials
from sluice_local.errors import LocalStackError
from sluice_local.mongod import REPLICA_SET
from sluice_local.ports import Ports
from sluice_local.secrets import FileSecrets

DEDICATED_LANE_BYTES = 128 * MIB
"""Of what `nats_server.MAX_FILE` leaves them, so that 38 tenants may have a lane of their own."""


class Login(msgspec.Struct, frozen=True):
    """How one part logs in to the broker."""

    nats_url: str
    nats_user: str
    nats_password: str


class OperatorRights:
    """The broker, the database and what provisions tenants in them."""

    def __init__(self, data_dir: Path, credentials: Credentials, ports: Ports) -> None:
        self.secrets = FileSecrets(data_dir)
        self.broker = Broker(Login(ports.nats_url, OPERATOR_USER, credentials.nats_operator))
        self.mongodb_uri = admin_uri(credentials, ports)
        self.client: Client = connect(self.mongodb_uri)
        platform = Platform(
            mongodb_hosts=f"{ports.mongodb_host}/?replicaSet={REPLICA_SET}",
            worker_password=credentials.mongodb_worker,
            dedicated_lane_max_bytes=DEDICATED_LANE_BYTES,
        )
        self.provisioner = Provisioner(self.broker, self.client, self.secrets, platform)
        roster = Roster(self.broker)
        self.repair = Repair(self.broker, self.provisioner, roster=roster)
        self.deletion = Deletion(self.broker, self.provisioner, self.secrets, roster=roster)

    async def close(self) -> None:
        """Close both connections."""
        await self.broker.close()
        self.client.close()


def admin_uri(credentials: Credentials, ports: Ports) -> str:
    """The database's address with the administrator's name and password."""
    return (
        f"mongodb://{ADMIN_USER}:{credentials.mongodb_admin}@{ports.mongodb_host}/"
        f"?authSource=admin&replicaSet={REPLICA_SET}"
    )


@asynccontextmanager
async def operator_rights(data_dir: Path, timeout: float = 5.0) -> AsyncIterator[OperatorRights]:
    """The operator's rights on the stack that runs on `data_dir`.

    Raises LocalStackError when none runs there.
    """
    credentials, ports = Credentials.load(data_dir), Ports.load(data_dir)
    if credentials is None or ports is None:
        raise LocalStackError(f"no stack ever ran on {data_dir}: start one with `sluice up`, or name another --data")
    rights = OperatorRights(data_dir, credentials, ports)
    try:
        try:
            async with asyncio.timeout(timeout):
                await rights.broker.connect()
        except TimeoutError:
            raise LocalStackError(f"the stack on {data_dir} does not run: start it with `sluice up`") from None
        yield rights
    finally:
        await rights.close()
