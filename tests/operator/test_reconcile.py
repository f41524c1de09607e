"""One look at a Tenant, step by step: real broker and database, and an API server in memory that fails when asked."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, NamedTuple, cast

import pytest

from sluice_core.edge.broker import Broker
from sluice_core.edge.bucket import read_bucket, read_entry
from sluice_core.edge.lanes import lane_exists
from sluice_core.edge.provision import Platform, Provisioner
from sluice_core.edge.repair import Repair
from sluice_core.edge.store import connect
from sluice_core.manifest import API_VERSION, KIND
from sluice_core.names import SEAL_KEY
from sluice_local.credentials import OPERATOR_USER
from sluice_local.operator_rights import Login, admin_uri
from sluice_local.stack import Servers
from sluice_operator.caps import Caps
from sluice_operator.kube.client import Object
from sluice_operator.kube.errors import KubeError, KubeUnavailable
from sluice_operator.lanes import LaneObjects
from sluice_operator.manifests import Place
from sluice_operator.reconcile import Outcome, Reconciler
from sluice_operator.runtime import NoSecrets
from support.cluster import template_config_map
from support.fake_kube import FakeKube
from support.operating import bootstrap
from support.sluice import ENVIRON, unique_id

TEAM, RELEASE = "team-a", "sluice-system"
PLACE = Place(namespace=RELEASE, monitoring="nats:8222", account="$G", polling_seconds=5, cooldown_seconds=60)


class Bench(NamedTuple):
    """A reconciler on its own."""

    broker: Broker
    provisioner: Provisioner
    kube: FakeKube

    def reconciler(self, caps: Caps | None = None) -> Reconciler:
        kube = cast("Any", self.kube)
        lanes = LaneObjects(kube, PLACE, "sluice-worker-template")
        return Reconciler(self.provisioner, kube, lanes, caps or Caps(), "http://logs.example.test")

    async def look(self, name: str, *, by: Reconciler | None = None, namespace: str = TEAM, **spec: Any) -> Outcome:
        meta: Object = {"name": name, "namespace": namespace, "uid": f"uid-of-{namespace}-{name}", "generation": 1}
        document = {"apiVersion": API_VERSION, "kind": KIND, "metadata": meta, "spec": spec}
        return await (by or self.reconciler()).look(document, f"uid-of-{namespace}")


@pytest.fixture(scope="module")
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Servers]:
    async with Servers(tmp_path_factory.mktemp("looks"), environ=ENVIRON, bootstrap=bootstrap) as made:
        yield made


@pytest.fixture
async def bench(servers: Servers) -> AsyncIterator[Bench]:
    credentials, ports = servers.credentials, servers.ports
    broker = Broker(Login(ports.nats_url, OPERATOR_USER, credentials.nats_operator))
    client = connect(admin_uri(credentials, ports))
    await broker.connect()
    platform = Platform(
        mongodb_hosts=ports.mongodb_host,
        worker_password=credentials.mongodb_worker,
        lane_max_bytes=2**28,
        dead_letters_max_bytes=2**28,
        dedicated_lane_max_bytes=2**24,
    )
    provisioner = Provisioner(broker, client, NoSecrets(), platform)
    await Repair(broker, provisioner).run()
    try:
        yield Bench(broker, provisioner, FakeKube(template_config_map(namespace=RELEASE)))
    finally:
        await broker.close()
        client.close()


def statuses(outcome: Outcome) -> dict[str, str]:
    return {one.type: one.status for one in outcome.conditions}


def reason(outcome: Outcome, kind: str = "Ready") -> str:
    return next(one.reason.word for one in outcome.conditions if one.type == kind)


async def test_everything_is_made_in_order_and_the_second_look_does_nothing(bench: Bench) -> None:
    name = unique_id("whole")
    outcome = await bench.look(name, lane="Dedicated")
    assert set(statuses(outcome).values()) == {"True"}
    assert outcome.changed == ("lane", "database", "credentials", "deployment", "scaledobject", "entry")
    assert outcome.drift == ()
    kinds = [write.split()[1] for write in bench.kube.writes]
    assert kinds == ["Secret", "Deployment", "ScaledObject"]
    bench.kube.writes.clear()
    again = await bench.look(name, lane="Dedicated")
    assert again.changed == ()
    assert again.claim == outcome.claim
    assert bench.kube.writes == []


@pytest.mark.parametrize(
    ("failing", "part"),
    [("Secret", "CredentialsReady"), ("Deployment", "LaneReady"), ("ScaledObject", "LaneReady")],
)
async def test_a_step_that_fails_is_its_condition_and_nobody_hears_of_the_tenant_before_all_is_there(
    bench: Bench, failing: str, part: str
) -> None:
    name = unique_id("halfway")

    def fails(what: str) -> KubeError | None:
        return KubeUnavailable("the API server is away") if failing in what else None

    bench.kube.fails = fails
    outcome = await bench.look(name, lane="Dedicated")
    expected = dict.fromkeys(("LaneReady", "StoreReady", "CredentialsReady", "RedactionValid"), "True")
    assert statuses(outcome) == {"Ready": "False", **expected, part: "False"}
    assert reason(outcome) == "ClusterRefused"
    assert outcome.retry
    assert await read_entry(bench.broker, name) is None
    bench.kube.fails = lambda _: None
    assert statuses(await bench.look(name, lane="Dedicated"))["Ready"] == "True"
    assert await read_entry(bench.broker, name) is not None


async def test_the_loser_of_a_conflict_makes_nothing(bench: Bench) -> None:
    name = unique_id("contested")
    await bench.look(name)
    bench.kube.writes.clear()
    before = await read_bucket(bench.broker)
    outcome = await bench.look(name, namespace="team-b", lane="Dedicated")
    assert reason(outcome) == "TenantIdConflict"
    assert outcome.claim is None
    assert not outcome.retry
    assert bench.kube.writes == []
    assert await read_bucket(bench.broker) == before
    assert not await lane_exists(bench.broker, f"t-{name}")


async def test_a_broker_that_is_away_leaves_what_else_can_be_done_done(bench: Bench, servers: Servers) -> None:
    name = unique_id("brokerless")
    await servers.nats.stop()
    try:
        outcome = await bench.look(name)
        found = statuses(outcome)
        assert (found["LaneReady"], found["StoreReady"], found["CredentialsReady"]) == ("False", "True", "True")
        assert reason(outcome) == "BrokerUnavailable"
        assert outcome.retry
    finally:
        await servers.nats.start()
    await bench.broker.close()


async def test_dedicated_lanes_that_are_asked_for_together_do_not_exceed_the_cap(bench: Bench) -> None:
    """Two looks at a time, and room for one."""
    others = len(await bench.provisioner.registry.dedicated())
    caps = Caps(max_dedicated_lanes=others + 1)
    one, two = unique_id("one"), unique_id("two")
    reconciler = bench.reconciler(caps)
    outcomes = await asyncio.gather(*(bench.look(name, by=reconciler, lane="Dedicated") for name in (one, two)))
    assert sorted(reason(outcome) for outcome in outcomes) == ["DedicatedNotAllowed", "Provisioned"]
    assert [await lane_exists(bench.broker, f"t-{name}") for name in (one, two)].count(True) == 1


async def test_a_spec_that_is_wrong_all_the_same_is_said_and_not_tried_again(bench: Bench) -> None:
    """The API server refuses it; an older definition may not have."""
    outcome = await bench.look(unique_id("wrong"), lane="Standard", scaling={})
    assert reason(outcome) == "InvalidSpec"
    assert "scaling belongs to a lane of one's own" in outcome.conditions[0].message
    assert not outcome.retry


async def test_a_second_look_finds_what_somebody_took_away(bench: Bench) -> None:
    name = unique_id("robbed")
    await bench.look(name)
    await bench.broker.api("STREAM.PURGE.KV_sluice_tenants", {"filter": f"$KV.sluice_tenants.{name}"})
    assert (await bench.look(name)).changed == ("entry",)
    assert SEAL_KEY in await read_bucket(bench.broker)
