"""A broker whose users are known by JWT, as NATS' own operators and hosted ones have it, instead of by password."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec
import pytest

from sluice_core.edge.broker import Broker
from sluice_core.edge.lanes import lane_definition
from sluice_core.errors import BrokerUnavailable
from sluice_core.names import lane_stream, lane_subject
from sluice_local.binaries import NATS_SERVER, find
from sluice_local.nats_server import PERMISSIONS
from sluice_local.operator_rights import Login
from sluice_local.ports import free_port
from sluice_local.probes import answers_ok
from sluice_local.process import ChildProcess
from support.jwt import Identity, account_jwt, credentials_file


class Place(NamedTuple):
    url: str
    account: Identity

    async def connect(self, user: str) -> Broker:
        permissions = cast("dict[str, Any]", PERMISSIONS[user])
        broker = Broker(Login(self.url, user, credentials_file(self.account, user, permissions)))
        await broker.connect()
        return broker


@pytest.fixture(scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    folder: Path = tmp_path_factory.mktemp("jwt")
    operator, account, system = Identity("operator"), Identity("account"), Identity("account")
    port, monitor = free_port(), free_port()
    config = {
        "host": "127.0.0.1",
        "port": port,
        "http": f"127.0.0.1:{monitor}",
        "jetstream": {"store_dir": str(folder / "data"), "sync_interval": "always"},
        "operator": operator.sign(operator, "test", system_account=system.public),
        "resolver": "MEMORY",
        "resolver_preload": {
            account.public: account_jwt(operator, account, "sluice", streams=True),
            system.public: account_jwt(operator, system, "system", streams=False),
        },
        "system_account": system.public,
    }
    (folder / "nats.conf").write_bytes(msgspec.json.encode(config))
    binary = find(NATS_SERVER, os.environ)
    server = await ChildProcess.start("nats-server", [binary, "-c", folder / "nats.conf"], log=folder / "log", env={})
    try:
        await server.wait_ready(answers_ok(monitor, "/healthz"), 30)
        yield Place(f"nats://127.0.0.1:{port}", account)
    finally:
        await server.stop(10)


async def test_parts_connect_with_credentials_files_and_have_the_rights_that_these_say(place: Place) -> None:
    operator = await place.connect("operator")
    ingest = await place.connect("ingest")
    try:
        await operator.api(
            f"STREAM.CREATE.{lane_stream('standard')}", lane_definition("standard", max_bytes=2**20, replicas=1)
        )
        assert await ingest.publish(lane_subject("standard"), b"x", stream=lane_stream("standard"), timeout=5) == 1
        with pytest.raises(BrokerUnavailable):
            await ingest.api(f"STREAM.DELETE.{lane_stream('standard')}", timeout=0.5)
    finally:
        await operator.close()
        await ingest.close()
