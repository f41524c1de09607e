"""The operator killed at its n-th write, whoever it is to: the next run ends in the same state.

One n after the other until the work is done before the n-th write comes. `--crash-every 1` (`make crashes`) tries every
n; a run of all tests every fifth only, since each takes some seconds.
"""

import asyncio
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

import pymongo
import pytest

from sluice_core.edge.access import Access
from sluice_core.edge.bucket import read_bucket, read_entry, sealed_tenants
from sluice_core.edge.lanes import consumer_definition, holds, lane_exists
from sluice_core.edge.letters import count_letters
from sluice_core.errors import BrokerError
from sluice_core.keys import key_digest
from sluice_core.names import SEAL_KEY, STANDARD_LANE, WORKERS, lane_stream
from sluice_core.tenant import decode_config
from sluice_local.credentials import ADMIN_USER
from sluice_operator.kube.client import Object
from sluice_operator.kube.kinds import TENANT
from sluice_operator.manifests import read_secret
from support.cluster import Cluster
from support.operating import Rig, rig
from support.operator_part import OperatorPart
from support.tenants import SOON
from support.waiting import eventually
from support.writes import Writes, kube_proxy, mongodb_frames, nats_frames, stream_proxy

RELEASE, NAMESPACE = "sluice-crash", "team-crash"


class Stage(NamedTuple):
    """An operator between proxies."""

    rig: Rig
    writes: Writes
    operator: OperatorPart

    async def restart(self) -> None:
        self.writes.disarm()
        await self.operator.kill()
        await self.operator.start()


@pytest.fixture(scope="module")
async def crash(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        made = await stack.enter_async_context(
            rig(cluster, tmp_path_factory.mktemp("crash"), NAMESPACE, release=RELEASE)
        )
        writes = Writes()
        context = cluster.operator.as_ssl_context()
        server = await stack.enter_async_context(kube_proxy(cluster.url, context, writes))
        nats = await stack.enter_async_context(stream_proxy(made.servers.ports.nats, nats_frames, writes))
        mongodb = await stack.enter_async_context(stream_proxy(made.servers.ports.mongod, mongodb_frames, writes))
        operator = made.operator(
            server=server,
            nats_url=f"nats://127.0.0.1:{nats}",
            mongodb_uri=direct_uri(made, mongodb),
            # Looking at all tenants all the time would only be slow: what a crash leaves is found at the next start.
            drift_seconds="30",
        )
        made.part = operator
        await operator.start()
        stack.push_async_callback(operator.stop)
        # What all tenants share exists before anything is counted.
        await made.tenant("first")
        yield Stage(made, writes, operator)


def direct_uri(made: Rig, port: int) -> str:
    """Direct, or the driver would find the server behind the proxy by itself."""
    password = made.servers.credentials.mongodb_admin
    return f"mongodb://{ADMIN_USER}:{password}@127.0.0.1:{port}/?authSource=admin&directConnection=true"


def contents(secret: Object) -> dict[str, str]:
    return {name: b64decode(value).decode() for name, value in secret["data"].items()}


async def state(made: Rig, name: str) -> dict[str, Any]:
    """Everything there is of a tenant, without what differs from one to the other by its nature."""
    tenant, claim = await made.get(name), await made.claim(name)
    assert tenant is not None
    secret = await made.secret(name)
    entry = await read_entry(made.broker, name)
    assert secret is not None
    assert entry is not None
    assert claim.config is not None
    config, keys = decode_config(entry.value), read_secret(secret).keys
    assert config == claim.config
    assert {key.digest for key in config.keys} == {key_digest(key) for key in keys.values()}
    async with pymongo.AsyncMongoClient[Object](contents(secret)["MONGODB_URI"]) as client:
        await client.get_default_database().processed_logs.find_one()
    lane, other = config.lane, f"t-{name}" if config.lane == STANDARD_LANE else STANDARD_LANE
    stream = (await made.broker.api(f"STREAM.INFO.{lane_stream(lane)}"))["config"]
    consumer = (await made.broker.api(f"CONSUMER.INFO.{lane_stream(lane)}.{WORKERS}"))["config"]
    deployment, scaler = await made.lane_objects(lane)
    assert deployment is not None
    assert scaler is not None
    bucket = await read_bucket(made.broker)
    return {
        "conditions": [(one["type"], one["status"], one["reason"]) for one in tenant["status"]["conditions"]],
        "status": sorted(tenant["status"].keys() - {"conditions"}),
        "observed": tenant["status"]["observedGeneration"] == tenant["metadata"]["generation"],
        "finalizers": tenant["metadata"]["finalizers"],
        "handled": tenant["metadata"]["annotations"]["operator.sluice.dev/last-handled-configuration"]
        == f'{{"metadata":{{"generation":{tenant["metadata"]["generation"]}}}}}\n',
        "claim": (claim.state, claim.closing, claim.reader_active, sorted((key.name, key.state) for key in claim.keys)),
        "config": (config.state, config.lane.replace(name, "X"), config.retention_days, config.suspension),
        "keys": sorted(keys),
        "lane": stream["subjects"] == [f"logs.{lane}"] and holds(consumer, consumer_definition()),
        "scaling": scaler["spec"]["maxReplicaCount"],
        "other lane": other == STANDARD_LANE
        or await lane_exists(made.broker, other)
        or any(await made.lane_objects(other)),
        "indexes": sorted(await made.client[f"tenant_{name}"].processed_logs.index_information()),
        "privilege": name in await Access(made.client).privileged(),
        "sealed": sealed_tenants(bucket[SEAL_KEY]) == len(bucket) - 1,
    }


async def becomes_state(made: Rig, name: str, wanted: dict[str, Any] | None) -> dict[str, Any]:
    """The state once it is the wanted one; None: once it no longer changes."""
    last: dict[str, Any] = {}

    async def same() -> bool:
        nonlocal last
        before = last
        try:
            last = await state(made, name)
        except (AssertionError, KeyError, BrokerError):
            return False
        return last == wanted if wanted is not None else last == before and bool(last["sealed"])

    try:
        await eventually(same, within=2 * SOON, pause=0.3)
    except AssertionError:
        raise AssertionError(f"{name} is {last}, not {wanted}") from None
    return last


async def erased(made: Rig, name: str) -> bool:
    """Whether nothing is left of a tenant but its record."""
    claim = await made.claim(name)
    users = (await made.client[f"tenant_{name}"].command("usersInfo", 1))["users"]
    return (
        claim.state == "Erased"
        and claim.closing == ()
        and claim.erased == {"documents": 3, "parked": 0, "dead_letters": 0}
        and f"tenant_{name}" not in await made.client.list_database_names()
        and not users
        and name not in await Access(made.client).privileged()
        and not await lane_exists(made.broker, f"t-{name}")
        and not any(await made.lane_objects(f"t-{name}"))
        and await made.secret(name) is None
        and not await count_letters(made.broker, f"*.{name}")
    )


BEFORE: dict[str, Any] = {
    "lane": "Dedicated",
    "scaling": {"maxReplicas": 4},
    "retention": {"days": 3},
    "keys": [{"name": "a"}],
}
AFTER: dict[str, Any] = {"lane": "Standard", "retention": {"days": 4}, "keys": [{"name": "b"}], "suspension": "Buffer"}


Begin = Callable[[str], Awaitable[Any]]
Finished = Callable[[str], Awaitable[bool]]


async def strikes(stage: Stage, begin: Begin, finished: Finished, name: str, number: int) -> bool:
    """Whether the operator was killed at the n-th write of this work."""
    stage.writes.arm(number, stage.operator.process.pid)
    await begin(name)

    async def over() -> bool:
        return stage.writes.struck or await finished(name)

    await eventually(over, within=3 * SOON, pause=0.02)
    if not stage.writes.struck:
        await asyncio.sleep(3)  # what comes after the last thing that can be seen from outside: an Event, kopf's mark
    struck = stage.writes.struck
    if struck:
        await stage.operator.process.wait()
        await stage.restart()
    stage.writes.disarm()
    return struck


async def test_killed_at_every_write_of_a_creation(
    crash: Stage, step: int, record_property: Callable[[str, object], None]
) -> None:
    reference = crash.rig.unique("reference")
    await crash.rig.apply(reference, **BEFORE)
    wanted = await becomes_state(crash.rig, reference, None)
    assert wanted["conditions"][0] == ("Ready", "True", "Provisioned")

    async def create(name: str) -> None:
        await crash.rig.apply(name, **BEFORE)

    async def created(name: str) -> bool:
        return (await crash.rig.condition(name)).get("status") == "True"

    number, struck = 1 - step, True
    while struck:
        number += step
        name = crash.rig.unique("created")
        struck = await strikes(crash, create, created, name, number)
        await becomes_state(crash.rig, name, wanted)
    assert number > 15, "a tenant takes more writes than that"
    record_property("measured", f"killed at every {step}. write of a creation, which has about {number - step}")


async def test_killed_at_every_write_of_a_change(
    crash: Stage, step: int, record_property: Callable[[str, object], None]
) -> None:
    reference = await crash.rig.tenant("reference", **BEFORE)
    await crash.rig.apply(reference, **AFTER)
    wanted: dict[str, Any] = {}

    async def moved() -> bool:
        nonlocal wanted
        wanted = await becomes_state(crash.rig, reference, None)
        still = ("LaneReady", "True", "LaneMoving") in wanted["conditions"]
        return not still and not wanted["other lane"] and wanted["claim"][1] == ()

    await eventually(moved, within=2 * SOON, pause=0.2)

    async def change(name: str) -> None:
        await crash.rig.apply(name, **AFTER)

    async def changed(name: str) -> bool:
        return (await crash.rig.condition(name, "LaneReady")).get("reason") == "Provisioned"

    number, struck = 1 - step, True
    while struck:
        number += step
        name = await crash.rig.tenant("changed", **BEFORE)
        await crash.rig.settled_tenant(name)
        struck = await strikes(crash, change, changed, name, number)
        await becomes_state(crash.rig, name, wanted)
    assert number > 8, "a change takes more writes than that"
    record_property("measured", f"killed at every {step}. write of a change, which has about {number - step}")


async def test_killed_at_every_write_of_a_deletion(
    crash: Stage, step: int, record_property: Callable[[str, object], None]
) -> None:
    async def remove(name: str) -> None:
        await crash.rig.kube.delete(TENANT, NAMESPACE, name)

    async def removed(name: str) -> bool:
        return await crash.rig.get(name) is None

    number, struck = 1 - step, True
    while struck:
        number += step
        name = await crash.rig.tenant("deleted", **BEFORE, deletionPolicy="Delete", erasureReceipt=True)
        await crash.rig.client[f"tenant_{name}"].processed_logs.insert_many([{"_id": one} for one in range(3)])
        await crash.rig.settled_tenant(name)
        struck = await strikes(crash, remove, removed, name, number)
        await crash.rig.gone(name)
        assert await erased(crash.rig, name)
    assert number > 15, "a deletion takes more writes than that"
    record_property("measured", f"killed at every {step}. write of a deletion, which has about {number - step}")
