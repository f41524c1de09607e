"""What the broker and the database really hold, for whoever wants to compare it with what they should hold.

Invariants: nothing here changes anything; and what is missing is a fact, not an error.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from pymongo.errors import PyMongoError

from sluice_core.edge.access import TTL_INDEX
from sluice_core.edge.broker import CONSUMER_NOT_FOUND, Broker
from sluice_core.edge.bucket import Entry, read_bucket
from sluice_core.edge.lanes import list_streams
from sluice_core.edge.letters import count_by_tenant
from sluice_core.edge.registry import Claim, Registry
from sluice_core.edge.store import Client
from sluice_core.errors import ApiError, StoreUnavailable
from sluice_core.names import (
    DLQ_STREAM,
    LOGS_COLLECTION,
    SEAL_KEY,
    TENANT_INFO_COLLECTION,
    TENANTS_STREAM,
    WORKER_ROLE,
    WORKER_USER,
    WORKERS,
    dead_letter_subject,
    lane_stream,
    parked_subject,
    tenant_database,
)

_AT_ONCE = 16
"""Databases looked at together."""


class ConsumerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A lane's consumer."""

    config: dict[str, Any]
    waiting: int
    """Messages not delivered yet."""
    unfinished: int
    """Messages delivered and not acknowledged."""


class StreamFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One stream."""

    config: dict[str, Any]
    size: int
    """Bytes in it."""
    messages: int
    consumer: ConsumerFacts | None = None
    """The workers' one; looked for in lanes only."""


class BrokerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is in the broker."""

    version: str
    skew: float | None
    """Seconds that its clock is ahead of ours at least; None where no stream tells its time."""
    streams: dict[str, StreamFacts]
    sealed: bool
    entries: dict[str, Entry]
    """Of the bucket of tenants, the seal left out."""
    newest: int
    """Sequence of the newest entry, the seal included."""
    dead: dict[str, int]
    """Dead letters by tenant."""
    parked: dict[str, int]


class DatabaseFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One tenant's database."""

    exists: bool
    """Whether the collection of its logs is there."""
    ttl_seconds: int | None
    """Of the retention index; None when there is none."""
    uid: str | None
    """Whose provisioning it says it is of."""


class StoreFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is in the database."""

    version: str
    primary: bool
    skew: float
    worker_role: bool
    worker_user: bool
    privileges: dict[str, tuple[str, ...]]
    """What the workers' role may do, by `database.collection`."""
    users: frozenset[str]
    """All users, as `database.user`."""
    databases: dict[str, DatabaseFacts]
    """By tenant, of those that were asked for."""


def clock_skew(before: float, theirs: float, after: float) -> float:
    """Seconds by which a clock is at least ahead (behind: negative) that said `theirs` between two looks at ours."""
    if theirs < before:
        return theirs - before
    return max(0.0, theirs - after)


async def inspect_broker(broker: Broker, lanes: Iterable[str]) -> BrokerFacts:
    """Look at everything in the broker; `lanes` are those whose consumers matter. Raises BrokerError."""
    infos = await list_streams(broker)
    streams = {name: _stream(info) for name, info in infos.items()}
    for name in {lane_stream(lane) for lane in lanes} & streams.keys():
        streams[name] = msgspec.structs.replace(streams[name], consumer=await _consumer(broker, name))
    entries = await read_bucket(broker) if TENANTS_STREAM in streams else {}
    newest = max((entry.sequence for entry in entries.values()), default=0)
    sealed = entries.pop(SEAL_KEY, None) is not None
    letters = DLQ_STREAM in streams
    return BrokerFacts(
        version=broker.server_version,
        skew=await _broker_skew(broker, next(iter(streams), None)),
        streams=streams,
        sealed=sealed,
        entries=entries,
        newest=newest,
        dead=await count_by_tenant(broker, dead_letter_subject("*")) if letters else {},
        parked=await count_by_tenant(broker, parked_subject("*")) if letters else {},
    )


def _stream(info: Mapping[str, Any]) -> StreamFacts:
    state = info["state"]
    return StreamFacts(config=info["config"], size=state["bytes"], messages=state["messages"])


async def _consumer(broker: Broker, stream: str) -> ConsumerFacts | None:
    try:
        info = await broker.api(f"CONSUMER.INFO.{stream}.{WORKERS}")
    except ApiError as error:
        if error.err_code != CONSUMER_NOT_FOUND:
            raise
        return None
    return ConsumerFacts(config=info["config"], waiting=info["num_pending"], unfinished=info["num_ack_pending"])


async def _broker_skew(broker: Broker, stream: str | None) -> float | None:
    if stream is None:
        return None
    before = time.time()
    told = (await broker.api(f"STREAM.INFO.{stream}")).get("ts")
    after = time.time()
    return None if told is None else clock_skew(before, datetime.fromisoformat(told).timestamp(), after)


async def read_claims(client: Client) -> dict[str, Claim]:
    """The whole registry, by tenant id. Raises StoreUnavailable."""
    try:
        return {claim.id: claim for claim in await Registry(client).all()}
    except PyMongoError as error:
        raise _unavailable(error) from None


async def inspect_store(client: Client, tenant_ids: Iterable[str]) -> StoreFacts:
    """Look at the database as its administrator, and at these tenants' own databases. Raises StoreUnavailable."""
    try:
        return await _inspect_store(client, list(tenant_ids))
    except PyMongoError as error:
        raise _unavailable(error) from None


async def _inspect_store(client: Client, tenant_ids: list[str]) -> StoreFacts:
    admin = client.admin
    before = time.time()
    hello = await admin.command("hello")
    after = time.time()
    local: datetime = hello["localTime"]
    roles = (await admin.command("rolesInfo", WORKER_ROLE, showPrivileges=True))["roles"]
    users = (await admin.command("usersInfo", {"forAllDBs": True}))["users"]
    free = asyncio.Semaphore(_AT_ONCE)

    async def look(tenant_id: str) -> DatabaseFacts:
        async with free:
            return await _database(client, tenant_id)

    databases = await asyncio.gather(*map(look, tenant_ids))
    named = frozenset(f"{user['db']}.{user['user']}" for user in users)
    return StoreFacts(
        version=(await admin.command("buildInfo"))["version"],
        primary=bool(hello.get("isWritablePrimary")),
        # It tells milliseconds, cut off.
        skew=clock_skew(before - 0.001, local.replace(tzinfo=local.tzinfo or UTC).timestamp(), after),
        worker_role=bool(roles),
        worker_user=f"admin.{WORKER_USER}" in named,
        privileges={
            f"{resource.get('db', '')}.{resource.get('collection', '')}": tuple(sorted(privilege["actions"]))
            for role in roles
            for privilege in role["privileges"]
            for resource in [privilege["resource"]]
        },
        users=named,
        databases=dict(zip(tenant_ids, databases, strict=True)),
    )


async def _database(client: Client, tenant_id: str) -> DatabaseFacts:
    database = client[tenant_database(tenant_id)]
    indexes = await database[LOGS_COLLECTION].index_information()
    info = await database[TENANT_INFO_COLLECTION].find_one({"_id": "tenant"})
    seconds = indexes.get(TTL_INDEX, {}).get("expireAfterSeconds")
    return DatabaseFacts(
        exists=bool(indexes),
        ttl_seconds=None if seconds is None else int(seconds),
        uid=None if info is None else info.get("uid"),
    )


def _unavailable(error: PyMongoError) -> StoreUnavailable:
    return StoreUnavailable(f"the database did not answer ({type(error).__name__})")
