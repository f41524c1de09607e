"""Whatever somebody changes or deletes behind the operator's back comes back, is counted, and is said."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sluice_core.edge.bucket import read_entry
from sluice_core.edge.lanes import consumer_definition, delete_consumer, delete_stream, holds
from sluice_core.errors import BrokerError
from sluice_core.names import (
    DLQ_STREAM,
    LOGS_COLLECTION,
    STANDARD_LANE,
    TENANTS_STREAM,
    WORKER_ROLE,
    WORKERS,
    lane_stream,
    reader_user,
    tenant_config_subject,
    tenant_database,
)
from sluice_operator.kube.client import Object
from sluice_operator.kube.kinds import CONFIG_MAP, DEPLOYMENT, SCALED_OBJECT, SECRET
from sluice_operator.manifests import lane_object_name, read_secret, secret_name
from support.cluster import template_config_map
from support.operating import Rig
from support.tenants import SOON
from support.waiting import eventually

MERGE = "application/merge-patch+json"


@pytest.fixture(scope="module")
async def name(running: Rig) -> str:
    """One tenant for all of these, with a lane of its own."""
    return await running.tenant("drift", lane="Dedicated", retention={"days": 3})


async def config_of(rig: Rig, call: str) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = await rig.broker.api(call)
    except BrokerError:
        return {}
    return dict(answer["config"])


async def repaired(rig: Rig, is_right: Callable[[], Awaitable[bool]], kind: str, before: float) -> None:
    """Wait until it is right again; it is in the metric then, or a moment later."""
    await eventually(is_right, within=SOON, pause=0.1)

    async def counted() -> bool:
        return await drift(rig, kind) > before

    await eventually(counted, within=SOON, pause=0.1)


async def drift(rig: Rig, *kinds: str) -> float:
    """How often something of these kinds was put right."""
    return sum([await rig.metric("sluice_operator_drift_repairs_total", kind=kind) for kind in kinds])


async def says_repaired(rig: Rig, name: str, what: str) -> None:
    async def said() -> bool:
        return any(why == "Repaired" and what in message for why, message in await rig.events(name))

    await eventually(said, within=SOON, pause=0.1)


@pytest.mark.parametrize("lane", ["own", "shared"])
async def test_a_stream_that_was_deleted_is_made_again(running: Rig, name: str, lane: str) -> None:
    lane = STANDARD_LANE if lane == "shared" else f"t-{name}"
    before = await drift(running, "stream", "lane")
    await delete_stream(running.broker, lane_stream(lane))

    async def right() -> bool:
        config = await config_of(running, f"STREAM.INFO.{lane_stream(lane)}")
        consumer = await config_of(running, f"CONSUMER.INFO.{lane_stream(lane)}.{WORKERS}")
        counted = await drift(running, "stream", "lane") > before
        return config.get("subjects") == [f"logs.{lane}"] and holds(consumer, consumer_definition()) and counted

    await eventually(right, within=SOON, pause=0.1)


async def test_a_stream_that_was_changed_is_as_it_was(running: Rig, name: str) -> None:
    call = f"STREAM.INFO.{lane_stream(f't-{name}')}"
    before = await config_of(running, call)
    await running.broker.api(f"STREAM.UPDATE.{lane_stream(f't-{name}')}", {**before, "max_msgs": 5})

    async def right() -> bool:
        return await config_of(running, call) == before

    await eventually(right, within=SOON, pause=0.1)


@pytest.mark.parametrize("lane", ["own", "shared"])
async def test_a_consumer_that_was_deleted_is_made_again(running: Rig, name: str, lane: str) -> None:
    lane = STANDARD_LANE if lane == "shared" else f"t-{name}"
    before = await drift(running, "consumer", "lane", "stream")
    await delete_consumer(running.broker, lane)

    async def right() -> bool:
        consumer = await config_of(running, f"CONSUMER.INFO.{lane_stream(lane)}.{WORKERS}")
        return holds(consumer, consumer_definition()) and await drift(running, "consumer", "lane", "stream") > before

    await eventually(right, within=SOON, pause=0.1)


@pytest.mark.parametrize("damage", ["dropped", "changed"])
async def test_a_retention_index_is_as_it_should_be_again(running: Rig, name: str, damage: str) -> None:
    database = running.client[tenant_database(name)]
    before = await drift(running, "database")
    if damage == "dropped":
        await database[LOGS_COLLECTION].drop_index("retention")
    else:
        change = {"name": "retention", "expireAfterSeconds": 10**9}
        await database.command("collMod", LOGS_COLLECTION, index=change)

    async def right() -> bool:
        index = (await database[LOGS_COLLECTION].index_information()).get("retention", {})
        return bool(index.get("expireAfterSeconds") == 3 * 86_400)

    await repaired(running, right, "database", before)


@pytest.mark.parametrize("damage", ["dropped", "given more"])
async def test_the_reader_is_as_it_should_be_again(running: Rig, name: str, damage: str) -> None:
    database = running.client[tenant_database(name)]
    before = await drift(running, "credentials")
    roles = [{"role": "read", "db": database.name}]
    if damage == "dropped":
        await database.command("dropUser", reader_user(name))
    else:
        await database.command("grantRolesToUser", reader_user(name), roles=["readWrite"])

    async def right() -> bool:
        users = (await database.command("usersInfo", reader_user(name)))["users"]
        return bool(users) and users[0]["roles"] == roles

    await repaired(running, right, "credentials", before)
    await says_repaired(running, name, "credentials")


async def test_a_workers_privilege_that_was_revoked_is_given_again(running: Rig, name: str) -> None:
    before = await drift(running, "privilege", "database")
    resource = {"db": tenant_database(name), "collection": LOGS_COLLECTION}
    privilege = {"resource": resource, "actions": ["find", "insert", "update"]}
    await running.client.admin.command("revokePrivilegesFromRole", WORKER_ROLE, privileges=[privilege])

    async def right() -> bool:
        role = (await running.client.admin.command("rolesInfo", WORKER_ROLE, showPrivileges=True))["roles"][0]
        granted = any(one["resource"] == resource for one in role["privileges"])
        return granted and await drift(running, "privilege", "database") > before

    await eventually(right, within=SOON, pause=0.1)


async def test_a_secret_that_was_deleted_comes_back_with_other_keys(running: Rig, name: str) -> None:
    """Deleting it is how an owner says that everything in it has leaked."""
    key = await running.key(name)
    before = await drift(running, "credentials")
    await running.kube.delete(SECRET, running.namespace, secret_name(name))

    async def right() -> bool:
        found = await running.secret(name)
        return found is not None and read_secret(found).keys["default"] != key

    await repaired(running, right, "credentials", before)


async def test_a_key_that_somebody_wrote_into_the_secret_is_not_believed(running: Rig, name: str) -> None:
    forged = "slk_" + "a" * 12 + "_" + "b" * 38
    await running.kube.call(
        "PATCH",
        SECRET.path(running.namespace, secret_name(name)),
        {"stringData": {"default": forged, "INGEST_URL": "http://elsewhere"}},
        content_type=MERGE,
    )

    async def right() -> bool:
        found = await running.secret(name)
        return found is not None and read_secret(found).keys["default"] != forged

    await eventually(right, within=SOON, pause=0.1)


@pytest.mark.parametrize("damage", ["deleted", "overwritten"])
async def test_an_entry_of_the_bucket_is_as_it_should_be_again(running: Rig, name: str, damage: str) -> None:
    before = await drift(running, "entry")
    entry = await read_entry(running.broker, name)
    assert entry is not None
    subject = tenant_config_subject(name)
    if damage == "deleted":
        await running.broker.api(f"STREAM.PURGE.{TENANTS_STREAM}", {"filter": subject})
    else:
        await running.broker.publish(subject, b"{}", stream=TENANTS_STREAM, timeout=5)

    async def right() -> bool:
        found = await read_entry(running.broker, name)
        return found is not None and found.value == entry.value

    await repaired(running, right, "entry", before)


@pytest.mark.parametrize("kind", [DEPLOYMENT, SCALED_OBJECT], ids=lambda kind: kind.kind)
@pytest.mark.parametrize("lane", ["own", "shared"])
async def test_a_lane_object_that_was_deleted_is_made_again_at_once(
    running: Rig, name: str, kind: Any, lane: str
) -> None:
    lane = STANDARD_LANE if lane == "shared" else f"t-{name}"
    before = await drift(running, kind.kind.lower())
    await running.kube.delete(kind, running.release, lane_object_name(lane))

    async def right() -> bool:
        return await running.kube.get(kind, running.release, lane_object_name(lane)) is not None

    await repaired(running, right, kind.kind.lower(), before)


async def test_a_lane_object_that_was_changed_is_as_it_was_but_its_replicas_are_left_alone(
    running: Rig, name: str
) -> None:
    path = DEPLOYMENT.path(running.release, lane_object_name(f"t-{name}"))
    before = await drift(running, "deployment")
    spec = {"replicas": 7, "template": {"spec": {"containers": [{"name": "worker", "image": "another:one"}]}}}
    await running.kube.call("PATCH", path, {"spec": spec}, content_type="application/strategic-merge-patch+json")

    async def right() -> bool:
        deployment = await running.kube.call("GET", path)
        return bool(deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "sluice-worker:test")

    await repaired(running, right, "deployment", before)
    assert (await running.kube.call("GET", path))["spec"]["replicas"] == 7


async def test_another_template_rolls_every_lane_and_is_no_drift(running: Rig, name: str) -> None:
    before = await drift(running, "deployment")

    async def images() -> set[str]:
        found: list[Object] = []
        for lane in (STANDARD_LANE, f"t-{name}"):
            deployment, _ = await running.lane_objects(lane)
            found += [] if deployment is None else deployment["spec"]["template"]["spec"]["containers"]
        return {one["image"] for one in found}

    for image in ("sluice-worker:next", "sluice-worker:test"):
        template = template_config_map(image, running.release)
        await running.kube.apply(CONFIG_MAP, template)

        async def rolled(wanted: str = image) -> bool:
            return await images() == {wanted}

        await eventually(rolled, within=SOON, pause=0.1)
    assert await drift(running, "deployment") == before


async def test_a_broker_that_comes_back_empty_is_filled_again(running: Rig, name: str) -> None:
    entry = await read_entry(running.broker, name)
    assert entry is not None
    for stream in (TENANTS_STREAM, DLQ_STREAM, lane_stream(STANDARD_LANE), lane_stream(f"t-{name}")):
        await delete_stream(running.broker, stream)

    async def right() -> bool:
        try:
            found = await read_entry(running.broker, name)
        except BrokerError:
            return False
        lanes = [await config_of(running, f"STREAM.INFO.{lane_stream(one)}") for one in (STANDARD_LANE, f"t-{name}")]
        return found is not None and found.value == entry.value and all(lanes)

    await eventually(right, within=SOON, pause=0.2)
    await running.becomes(name)
    await says_repaired(running, name, "entry")
