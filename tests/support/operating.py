"""The operator at work: a real API server, broker and database, and `python -m sluice_operator` between them.

Invariant: an operator watches its own namespaces only and has its own release namespace, so that several rigs can share
one API server.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import yaml

from sluice_core.edge.broker import Broker
from sluice_core.edge.bucket import read_bucket, sealed_tenants
from sluice_core.edge.lanes import list_streams
from sluice_core.edge.registry import Claim, Registry
from sluice_core.edge.replica_set import set_up_replica_set
from sluice_core.edge.store import Client, connect
from sluice_core.names import SEAL_KEY, STANDARD_LANE
from sluice_local.credentials import ADMIN_USER, OPERATOR_USER, Credentials
from sluice_local.mongod import REPLICA_SET
from sluice_local.operator_rights import Login, admin_uri
from sluice_local.part import ingest_part, worker_part
from sluice_local.ports import HOST, free_port
from sluice_local.stack import Servers
from sluice_operator.kube.client import Object
from sluice_operator.kube.kinds import DEPLOYMENT, SCALED_OBJECT, SECRET, TENANT
from sluice_operator.manifests import lane_object_name, read_secret, secret_name
from support.cluster import NAMESPACE, Cluster, operator_rules, template_config_map
from support.metrics import read_metric
from support.operator_part import OperatorPart
from support.sluice import ENVIRON
from support.tenants import SOON, Tenants
from support.waiting import eventually

_numbers = count(1)
INGEST_URL = "http://logs.example.test"


class Rig(Tenants):
    """What one operator works on. `namespace` is for Tenants; each test may make more."""

    part: OperatorPart
    """The operator at work, where there is one for all tests."""

    def __init__(self, cluster: Cluster, servers: Servers, *namespaces: str, release: str) -> None:
        super().__init__(cluster.kube, namespaces[0])
        self.cluster = cluster
        self.servers = servers
        self.namespaces = namespaces
        self.release = release
        credentials, ports = servers.credentials, servers.ports
        self.broker = Broker(Login(ports.nats_url, OPERATOR_USER, credentials.nats_operator))
        self.client: Client = connect(admin_uri(credentials, ports))
        self.registry = Registry(self.client)

    def operator(self, *, server: str = "", **settings: str) -> OperatorPart:
        """An operator that is not started yet; `server`: a proxy's address instead of the API server's."""
        credentials, ports = self.servers.credentials, self.servers.ports
        folder = self.servers.data_dir / f"operator-{next(_numbers)}"
        folder.mkdir()
        (folder / "kubeconfig").write_text(self.cluster.operator.kubeconfig(server))
        port = free_port()
        own = {
            "KUBECONFIG": str(folder / "kubeconfig"),
            "HOME": str(folder),
            "USER": "sluice",
            "SLUICE_NATS_URL": ports.nats_url,
            "SLUICE_NATS_PASSWORD": credentials.nats_operator,
            "SLUICE_NATS_MONITORING": "nats.example.test:8222",
            "SLUICE_MONGODB_URI": admin_uri(credentials, ports),
            "SLUICE_MONGODB_HOSTS": f"{ports.mongodb_host}/?replicaSet={REPLICA_SET}",
            "SLUICE_MONGODB_WORKER_PASSWORD": credentials.mongodb_worker,
            "SLUICE_NAMESPACE": self.release,
            "SLUICE_WATCH_NAMESPACES": ",".join(self.namespaces),
            "SLUICE_INGEST_URL": INGEST_URL,
            "SLUICE_HOST": HOST,
            "SLUICE_PORT": str(port),
            "SLUICE_DRIFT_SECONDS": "2",
            "SLUICE_DELETION_TIMEOUT": "5",
            "SLUICE_COUNTS_SECONDS": "1",
            "SLUICE_LANE_MAX_BYTES": str(256 * 2**20),
            "SLUICE_DEDICATED_LANE_MAX_BYTES": str(16 * 2**20),
            "SLUICE_DEAD_LETTERS_MAX_BYTES": str(256 * 2**20),
        }
        environ = {**ENVIRON, **own}
        environ |= {f"SLUICE_{name.upper()}": value for name, value in settings.items()}
        return OperatorPart(folder, port, environ)

    @asynccontextmanager
    async def operating(self, **settings: str) -> AsyncIterator[OperatorPart]:
        """A running operator."""
        part = self.operator(**settings)
        await part.start()
        await eventually(self._has_standard_lane, within=SOON, pause=0.1)
        try:
            yield part
        finally:
            await part.stop()

    async def _has_standard_lane(self) -> bool:
        return all(await self.lane_objects(STANDARD_LANE))

    @asynccontextmanager
    async def without_operator(self) -> AsyncIterator[None]:
        """Inside, the one for all tests is stopped."""
        await self.part.stop()
        try:
            yield
        finally:
            await self.part.start()

    @asynccontextmanager
    async def data_plane(self, *lanes: str) -> AsyncIterator[str]:
        """Ingest, and a worker for each lane; gives ingest's address. What the cluster's pods would be."""
        credentials, ports = self.servers.credentials, self.servers.ports
        folder = self.servers.data_dir
        ingest = ingest_part(folder, free_port(), ENVIRON, credentials, ports, auth="keys")
        workers = [worker_part(folder, free_port(), ENVIRON, credentials, ports, lane=lane) for lane in lanes]
        try:
            async with asyncio.TaskGroup() as group:
                for part in (ingest, *workers):
                    group.create_task(part.start())
            yield ingest.url
        finally:
            await asyncio.gather(*(part.stop() for part in (ingest, *workers)))

    # -- Tenants -----------------------------------------------------------------------------------------------------

    def unique(self, stem: str) -> str:
        return f"{stem}-{next(_numbers)}"

    async def tenant(self, stem: str = "tenant", **spec: Any) -> str:
        """A Tenant of the test's own that is Ready."""
        name = self.unique(stem)
        await self.apply(name, **spec)
        await self.becomes(name)
        return name

    async def delete(self, name: str, namespace: str = "", *, wait: bool = True) -> None:
        await self.kube.delete(TENANT, namespace or self.namespace, name)
        if wait:
            await self.gone(name, namespace)

    async def gone(self, name: str, namespace: str = "") -> None:
        async def away() -> bool:
            return await self.get(name, namespace) is None

        try:
            await eventually(away, within=2 * SOON, pause=0.1)
        except AssertionError:
            how = f"the operator runs: {self.part.running}; {self.part.process.log_tail()}"
            raise AssertionError(f"{name} is still there: {await self.get(name, namespace)}; {how}") from None

    # -- what there is of one ----------------------------------------------------------------------------------------

    async def claim(self, tenant_id: str) -> Claim:
        claim = await self.registry.get(tenant_id)
        assert claim is not None
        return claim

    async def secret(self, name: str, namespace: str = "") -> Object | None:
        return await self.kube.get(SECRET, namespace or self.namespace, secret_name(name))

    async def key(self, name: str, namespace: str = "") -> str:
        """Its first key."""
        found = await self.secret(name, namespace)
        assert found is not None
        return min(read_secret(found).keys.items())[1]

    async def lane_objects(self, lane: str) -> tuple[Object | None, Object | None]:
        """Deployment and ScaledObject."""
        name = lane_object_name(lane)
        deployment = await self.kube.get(DEPLOYMENT, self.release, name)
        return deployment, await self.kube.get(SCALED_OBJECT, self.release, name)

    # -- what was written --------------------------------------------------------------------------------------------

    async def looks(self) -> float:
        """How many looks at Tenants the operator has finished."""
        return await self.metric("sluice_operator_reconcile_seconds_count", what="look")

    async def metric(self, name: str, **labels: str) -> float:
        """Sum of the operator's samples that have these labels."""
        async with httpx.AsyncClient() as http:
            return await read_metric(http, f"http://{HOST}:{self.part.port}/metrics", name, **labels)

    async def more_looks(self, rounds: int = 2) -> None:
        """Wait until every Tenant has been looked at so many times more."""
        tenants = sum([len(await self.kube.list(TENANT, one)) for one in self.namespaces])
        wanted = await self.looks() + rounds * max(1, tenants)

        async def enough() -> bool:
            return await self.looks() >= wanted

        await eventually(enough, within=2 * SOON, pause=0.1)

    async def written(self) -> dict[str, Any]:
        """Everything that was ever written by the operator: equal before and after means that nothing was."""
        oplog = self.client.local["oplog.rs"]
        last = (
            await oplog.find({"op": {"$ne": "n"}, "ns": {"$not": {"$regex": "^config"}}})
            .sort("$natural", -1)
            .to_list(1)
        )
        streams = await list_streams(self.broker)
        kept = {}
        for name, info in streams.items():
            consumers = (await self.broker.api(f"CONSUMER.LIST.{name}"))["consumers"] or []
            kept[name] = (
                info["config"],
                info["created"],
                info["state"]["last_seq"],
                [one["config"] for one in consumers],
            )
        return {"kubernetes": self.cluster.written(), "mongodb": [(one["ts"], one["ns"]) for one in last], "nats": kept}

    async def settled(self) -> dict[str, Any]:
        """What was written, once nothing more is. The seal follows a new tenant with the next round of repairs."""
        await eventually(self._sealed, within=SOON, pause=0.1)
        before = await self.written()
        while True:
            await self.more_looks()
            after = await self.written()
            if after == before:
                return after
            before = after

    async def _sealed(self) -> bool:
        entries = await read_bucket(self.broker)
        seal = entries.pop(SEAL_KEY, None)
        return seal is not None and sealed_tenants(seal) == len(entries)

    async def settled_tenant(self, name: str) -> None:
        """Wait until kopf has put its mark on a Tenant and its Event is written: the last writes of a look."""

        async def marked() -> bool:
            tenant = await self.get(name)
            assert tenant is not None
            annotations = tenant["metadata"].get("annotations") or {}
            return f'"generation":{tenant["metadata"]["generation"]}}}' in str(annotations)

        await eventually(marked, within=SOON, pause=0.05)
        await self.has_event(name, "Provisioned")


async def bootstrap(host: str, credentials: Credentials) -> None:
    name, _, port = host.partition(":")
    await set_up_replica_set(name, int(port), ADMIN_USER, credentials.mongodb_admin)


@asynccontextmanager
async def rig(cluster: Cluster, folder: Path, *namespaces: str, release: str = NAMESPACE) -> AsyncIterator[Rig]:
    """Broker and database of its own, its release's namespace, and those of tenants, the first of which is usual."""
    await cluster.install(
        *({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": one}} for one in {release, *namespaces})
    )
    await cluster.install(*operator_rules(release), template_config_map(namespace=release))
    async with Servers(folder, environ=ENVIRON, bootstrap=bootstrap) as servers:
        made = Rig(cluster, servers, *namespaces, release=release)
        await made.broker.connect()
        try:
            yield made
        finally:
            await made.broker.close()
            made.client.close()


def sample(name: str = "tenant") -> Object:
    """A Tenant of `k8s/samples`."""
    path = Path(__file__).resolve().parents[2] / "k8s" / "samples" / f"{name}.yaml"
    document: Object = yaml.safe_load(path.read_text())
    return document
