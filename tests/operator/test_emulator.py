"""The operator whole, in this process, against an emulated API server: for machines without a real one.

Broker and database are real. What only a real API server can show is not looked at here; see `support.emulator`.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import kopf
import pytest
from kmock import Server

from sluice_core.edge.access import Access
from sluice_core.edge.broker import Broker
from sluice_core.edge.bucket import read_entry
from sluice_core.edge.registry import Registry
from sluice_core.edge.store import connect
from sluice_core.manifest import API_VERSION, KIND
from sluice_local.credentials import OPERATOR_USER
from sluice_local.mongod import REPLICA_SET
from sluice_local.operator_rights import Login, admin_uri
from sluice_local.ports import HOST, free_port
from sluice_local.stack import Servers
from sluice_operator import kopf_setup
from sluice_operator.kube.client import Kube, Object
from sluice_operator.kube.errors import KubeError
from sluice_operator.kube.kinds import CONFIG_MAP, DEPLOYMENT, SCALED_OBJECT, SECRET, TENANT
from sluice_operator.manifests import lane_object_name, read_secret
from sluice_operator.runtime import Operator
from sluice_operator.settings import OperatorSettings
from support.cluster import template_config_map
from support.emulator import Emulator
from support.operating import bootstrap
from support.sluice import ENVIRON
from support.waiting import eventually

RELEASE, TEAM = "sluice-system", "team-a"
SOON = 30.0


@pytest.fixture(scope="module")
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Servers]:
    async with Servers(tmp_path_factory.mktemp("emulated"), environ=ENVIRON, bootstrap=bootstrap) as made:
        yield made


@pytest.fixture
async def emulator(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Emulator]:
    made = Emulator()
    made.declare()
    made.add(CONFIG_MAP, RELEASE, template_config_map(namespace=RELEASE))
    async with Server(made) as server:
        info = kopf.ConnectionInfo(server=str(server.url).rstrip("/"))
        monkeypatch.setattr(kopf, "login_with_service_account", lambda **_: info)
        yield made


@pytest.fixture
async def kube(emulator: Emulator, servers: Servers) -> AsyncIterator[Kube]:
    """Of an operator that is at work until the test ends."""
    credentials, ports = servers.credentials, servers.ports
    settings = OperatorSettings(
        nats_url=ports.nats_url,
        nats_password=credentials.nats_operator,
        nats_monitoring="nats:8222",
        mongodb_uri=admin_uri(credentials, ports),
        mongodb_hosts=f"{ports.mongodb_host}/?replicaSet={REPLICA_SET}",
        mongodb_worker_password=credentials.mongodb_worker,
        namespace=RELEASE,
        ingest_url="http://logs.example.test",
        drift_seconds=1.0,
        lane_max_bytes=2**28,
        dead_letters_max_bytes=2**28,
        dedicated_lane_max_bytes=2**24,
        host=HOST,
        port=free_port(),
    )
    # In a loop of its own: at its end kopf cancels whatever else goes on in its loop.
    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    def work() -> None:
        try:
            codes.append(loop.run_until_complete(Operator(settings, stop).run()))
        finally:
            loop.close()

    codes: list[int] = []
    thread = threading.Thread(target=work)
    thread.start()
    kube = Kube(kopf_setup.login)

    async def watching() -> bool:
        return emulator.find(DEPLOYMENT, RELEASE, lane_object_name("standard")) is not None

    try:
        await eventually(watching, within=SOON, pause=0.1)
        await asyncio.sleep(1)  # its watches have begun: nothing outside shows that
        yield kube
    finally:
        loop.call_soon_threadsafe(stop.set)
        await asyncio.to_thread(thread.join, 30)
        await kube.close()
    assert codes == [0]


def condition(tenant: Object | None, kind: str = "Ready") -> str:
    conditions = ((tenant or {}).get("status") or {}).get("conditions") or []
    return next((one["status"] for one in conditions if one["type"] == kind), "")


async def test_a_tenant_comes_changes_and_goes(emulator: Emulator, kube: Kube, servers: Servers) -> None:
    name = "emulated"
    meta: dict[str, Any] = {"name": name, "namespace": TEAM}
    spec: dict[str, Any] = {"lane": "Dedicated", "deletionPolicy": "Delete", "erasureReceipt": True}
    await kube.create(TENANT, {"apiVersion": API_VERSION, "kind": KIND, "metadata": meta, "spec": spec})

    async def ready() -> bool:
        return condition(emulator.find(TENANT, TEAM, name)) == "True"

    await eventually(ready, within=SOON, pause=0.1)
    tenant = emulator.find(TENANT, TEAM, name)
    assert tenant is not None
    assert tenant["metadata"]["finalizers"] == ["operator.sluice.dev/tenant"]
    secret = emulator.find(SECRET, TEAM, f"{name}-sluice")
    assert secret is not None
    assert set(read_secret(secret).keys) == {"default"}
    for kind in (DEPLOYMENT, SCALED_OBJECT):
        assert emulator.find(kind, RELEASE, lane_object_name(f"t-{name}")) is not None

    client = connect(admin_uri(servers.credentials, servers.ports))
    broker = Broker(Login(servers.ports.nats_url, OPERATOR_USER, servers.credentials.nats_operator))
    await broker.connect()
    try:
        registry = Registry(client)
        assert await read_entry(broker, name) is not None
        await kube.call(
            "PATCH",
            TENANT.path(TEAM, name),
            {"spec": {**spec, "retention": {"days": 2}}},
            content_type="application/merge-patch+json",
        )

        async def changed() -> bool:
            claim = await registry.get(name)
            return claim is not None and claim.config is not None and claim.config.retention_days == 2

        await eventually(changed, within=SOON, pause=0.1)
        await kube.delete(TENANT, TEAM, name)

        async def gone() -> bool:
            """Other than an API server, kmock may lose the event of a write that meets another: so there are more."""
            with suppress(KubeError):  # it may go meanwhile
                await kube.call(
                    "PATCH",
                    TENANT.path(TEAM, name),
                    {"metadata": {"annotations": {"test": str(time.monotonic())}}},
                    content_type="application/merge-patch+json",
                )
            return emulator.find(TENANT, TEAM, name) is None

        await eventually(gone, within=SOON, pause=2.0)
        claim = await registry.get(name)
        assert claim is not None
        assert claim.state == "Erased"
        assert name not in await Access(client).privileged()
        assert emulator.find(DEPLOYMENT, RELEASE, lane_object_name(f"t-{name}")) is None
        assert emulator.find(SECRET, TEAM, f"{name}-sluice") is None
        receipt = emulator.find(CONFIG_MAP, TEAM, f"{name}-sluice-erasure")
        assert receipt is not None
        assert receipt["data"]["documentsBefore"] == "0"
    finally:
        await broker.close()
        client.close()
