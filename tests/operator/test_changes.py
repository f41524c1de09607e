"""A Tenant that is edited: all of it takes effect, nothing that was accepted is lost, and the platform's rules hold."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from sluice_core.edge.lanes import lane_exists
from sluice_core.keys import key_digest
from sluice_core.names import STANDARD_LANE
from sluice_core.tenant import TenantConfig
from sluice_operator.kube.kinds import DEPLOYMENT, SCALED_OBJECT, SECRET, TENANT
from sluice_operator.manifests import lane_object_name, read_secret, secret_name
from support.operating import Rig
from support.tenants import SOON
from support.waiting import eventually

GOOD_TEST = {"input": "mail a@b.example", "expect": "mail [REDACTED]"}


async def config(rig: Rig, tenant_id: str) -> TenantConfig:
    claim = await rig.claim(tenant_id)
    assert claim.config is not None
    return claim.config


async def test_edits_reach_the_bucket_and_the_database(running: Rig) -> None:
    name = await running.tenant("edited")
    before = await config(running, name)
    await running.apply(
        name,
        limits={"recordsPerSecond": 77},
        retention={"days": 5},
        redaction={"detectors": {"ipv4": "Keep"}},
        suspension="Buffer",
        original="Drop",
    )
    await running.becomes(name)
    after = await config(running, name)
    assert after.limits.records_per_second == 77
    assert (after.redaction.detectors, after.suspension, after.keep_original) == ({"ipv4": "Keep"}, "Buffer", False)
    assert after.revision > before.revision
    assert after.policy_revision == after.revision
    indexes = await running.client[f"tenant_{name}"].processed_logs.index_information()
    assert indexes["retention"]["expireAfterSeconds"] == 5 * 86_400


async def test_keys_come_and_go_by_name_and_an_edit_is_no_drift(running: Rig) -> None:
    name = await running.tenant("keys")
    drifted = await running.metric("sluice_operator_drift_repairs_total", kind="credentials")
    first = await running.key(name)
    await running.apply(name, keys=[{"name": "default"}, {"name": "second"}])
    await running.becomes(name)
    secret = await running.secret(name)
    assert secret is not None
    keys = read_secret(secret).keys
    assert keys["default"] == first
    await running.apply(name, keys=[{"name": "second"}])
    await running.becomes(name)
    assert {key.digest for key in (await config(running, name)).keys} == {key_digest(keys["second"])}
    secret = await running.secret(name)
    assert secret is not None
    assert read_secret(secret).keys == {"second": keys["second"]}
    assert await running.metric("sluice_operator_drift_repairs_total", kind="credentials") == drifted


async def test_a_tenant_moves_between_lanes_and_loses_nothing(running: Rig) -> None:
    name = await running.tenant("mover")
    lane = f"t-{name}"
    accepted: list[str] = []
    stopping = asyncio.Event()
    async with running.data_plane(STANDARD_LANE, lane) as url, httpx.AsyncClient(base_url=url, timeout=20) as http:
        headers = {"Authorization": f"Bearer {await running.key(name)}"}
        answers: set[int] = set()

        async def ship() -> None:
            number = 0
            while not stopping.is_set():
                number += 1
                log_id = f"line-{number}"
                answer = await http.post("/ingest", headers=headers, json={"log_id": log_id, "text": "hello"})
                answers.add(answer.status_code)
                if answer.status_code == 202:
                    accepted.append(log_id)
                await asyncio.sleep(0.01)

        shipping = asyncio.create_task(ship())
        for wanted in ("Dedicated", "Standard", "Dedicated", "Standard"):
            await running.apply(name, lane=wanted)
            await running.becomes(name)
            before = len(accepted)

            async def more(than: int = before) -> bool:
                return len(accepted) > than + 20

            await eventually(more, within=SOON, pause=0.1)

        async def closed() -> bool:
            return not await lane_exists(running.broker, lane) and not any(await running.lane_objects(lane))

        await eventually(closed, within=2 * SOON, pause=0.2)
        stopping.set()
        await shipping

        async def all_stored() -> bool:
            found = running.client[f"tenant_{name}"].processed_logs.find({}, {"_id": 1})
            return {one["_id"] async for one in found} >= set(accepted)

        await eventually(all_stored, within=SOON, pause=0.2)
    assert answers <= {202, 503, 401}
    assert (await running.claim(name)).closing == ()
    assert (await config(running, name)).lane == STANDARD_LANE


async def test_a_policy_whose_tests_fail_does_not_take_effect(running: Rig) -> None:
    name = await running.tenant("policy", redaction={"detectors": {"ipv4": "Keep"}, "tests": [GOOD_TEST]})
    before = await config(running, name)
    secret = "sesame-4711 10.0.0.1"
    tests = [GOOD_TEST, {"input": f"open {secret}", "expect": f"shut {secret}"}]
    await running.apply(name, redaction={"detectors": {"email": "Replace"}, "tests": tests}, retention={"days": 4})
    said = await running.becomes(name, "False", "PolicyTestFailed", kind="RedactionValid")
    assert "redaction.tests[1]" in said["message"]
    assert "tests[0]" not in said["message"]
    assert "The policy before stays in force." in said["message"]
    await running.becomes(name, "False", "PolicyTestFailed")
    after = await config(running, name)
    assert after.redaction == before.redaction
    assert after.policy_revision == before.policy_revision
    assert after.retention_days == 4, "the rest of the spec takes effect"
    tenant = await running.get(name)
    assert tenant is not None
    shown = str(tenant["status"]) + str(tenant["metadata"].get("annotations")) + str(await running.events(name))
    assert "sesame" not in shown
    assert "sesame" not in running.part.process.log.read_text()
    await running.apply(name, redaction={"tests": [GOOD_TEST]})
    await running.becomes(name)


async def test_a_policy_that_was_never_valid_lets_nothing_in(running: Rig) -> None:
    name = running.unique("policy-first")
    await running.apply(name, redaction={"custom": [{"name": "x", "pattern": "(?=x)"}]})
    said = await running.becomes(name, "False", "PolicyInvalid")
    assert "Nothing is taken in until it is mended." in said["message"]
    assert (await running.claim(name)).config is None
    await running.apply(name)
    await running.becomes(name)


async def test_a_secret_that_is_somebody_elses_is_left_as_it_is(running: Rig) -> None:
    name = running.unique("secret-conflict")
    theirs = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": secret_name(name), "namespace": running.namespace},
        "stringData": {"password": "theirs"},
    }
    await running.kube.create(SECRET, theirs)
    before = await running.secret(name)
    await running.apply(name)
    await running.becomes(name, "False", "SecretConflict", kind="CredentialsReady")
    await running.becomes(name, "False", "SecretConflict")
    assert await running.secret(name) == before
    assert (await running.claim(name)).config is None
    await running.delete(name)
    assert await running.secret(name) == before
    await running.kube.delete(SECRET, running.namespace, secret_name(name))


@pytest.fixture
async def idle(running: Rig) -> AsyncIterator[Rig]:
    """Without the operator of the other tests."""
    async with running.without_operator():
        yield running


async def test_the_platforms_rules_hold(idle: Rig) -> None:
    rules = {
        "dedicated_namespaces": "team-a",
        "max_dedicated_lanes": str(len(await idle.registry.dedicated()) + 1),
        "max_replicas": "3",
        "max_records_per_second": "1000",
        "id_policy": "namespace",
    }
    async with idle.operating(**rules):
        one, two = idle.unique("team-a-one"), idle.unique("team-a-two")
        await idle.apply(one, lane="Dedicated", scaling={"maxReplicas": 50}, limits={"recordsPerSecond": 5000})
        said = await idle.becomes(one, "True", "Capped")
        assert "limits.recordsPerSecond" in said["message"]
        assert "scaling.maxReplicas" in said["message"]
        assert (await config(idle, one)).limits.records_per_second == 1000
        _, scaler = await idle.lane_objects(f"t-{one}")
        assert scaler is not None
        assert scaler["spec"]["maxReplicaCount"] == 3
        # There is room for one; whoever is refused stays where it is, and nothing is made for a new one.
        await idle.apply(two)
        await idle.becomes(two)
        await idle.apply(two, lane="Dedicated")
        await idle.becomes(two, "False", "DedicatedNotAllowed", kind="LaneReady")
        assert (await config(idle, two)).lane == STANDARD_LANE
        elsewhere = idle.unique("team-b-x")
        await idle.apply(elsewhere, namespace="team-b", lane="Dedicated")
        await idle.becomes(elsewhere, "False", "DedicatedNotAllowed", namespace="team-b")
        assert (await idle.claim(elsewhere)).config is None
        assert not await lane_exists(idle.broker, f"t-{elsewhere}")
        wrong = idle.unique("other")
        await idle.apply(wrong)
        await idle.becomes(wrong, "False", "TenantIdNotAllowed")
        assert await idle.registry.get(wrong) is None
        # Room that is given back can be had.
        await idle.delete(one)
        await idle.becomes(two)
        assert (await config(idle, two)).lane == f"t-{two}"
        for name, namespace in ((two, "team-a"), (elsewhere, "team-b"), (wrong, "team-a")):
            await idle.delete(name, namespace)


@pytest.mark.parametrize("server", ["nats", "mongod"])
async def test_a_tenant_waits_for_a_server_that_is_away_and_says_so(idle: Rig, server: str) -> None:
    """From the operator's start on: it is up all the same."""
    down = getattr(idle.servers, server)
    kind, reason = ("LaneReady", "BrokerUnavailable") if server == "nats" else ("Ready", "StoreUnavailable")
    await down.stop()
    try:
        part = idle.operator(store_timeout="1")
        await part.start()
    except BaseException:
        await down.start()
        raise
    try:
        name = idle.unique(f"without-{server}")
        try:
            await idle.apply(name)
            await idle.becomes(name, "False", reason, kind=kind)
        finally:
            await down.start()
        await idle.becomes(name)
        await down.stop()
        try:
            await idle.kube.delete(TENANT, idle.namespace, name)
            await idle.becomes(name, "False", "Deleting")
        finally:
            await down.start()
        await idle.gone(name)
    finally:
        await part.stop()


async def test_a_lost_lane_object_comes_back_before_any_timer(idle: Rig) -> None:
    """Timers begin after 12 s here at the earliest."""
    async with idle.operating(drift_seconds="60"):
        name = await idle.tenant("watched", lane="Dedicated")
        lane = f"t-{name}"
        for kind in (DEPLOYMENT, SCALED_OBJECT):
            await idle.kube.delete(kind, idle.release, lane_object_name(lane))

            async def back() -> bool:
                return all(await idle.lane_objects(lane))

            await eventually(back, within=5, pause=0.05)
        await idle.delete(name)


async def test_keda_that_cannot_scale_is_said_and_lets_lines_in_all_the_same(running: Rig) -> None:
    name = await running.tenant("unscaled", lane="Dedicated")
    path = SCALED_OBJECT.path(running.release, lane_object_name(f"t-{name}"), "status")

    async def keda_says(status: str) -> None:
        condition = {"type": "Ready", "status": status, "reason": "ScaledObjectCheckFailed", "message": "no"}
        await running.kube.call(
            "PATCH", path, {"status": {"conditions": [condition]}}, content_type="application/merge-patch+json"
        )

    await keda_says("False")
    said = await running.becomes(name, "False", "ScalerNotReady", kind="LaneReady")
    assert "ScaledObjectCheckFailed" in said["message"]
    before = await config(running, name)
    await running.apply(name, lane="Dedicated", retention={"days": 9})
    await running.becomes(name, "False", "ScalerNotReady")
    assert (await config(running, name)).retention_days == 9
    assert (await config(running, name)).lane == before.lane
    await keda_says("True")
    await running.becomes(name)
