"""Who may do what in the broker and in the database: each user what his part needs, and nothing else."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import nats
import psutil
import pymongo
import pytest
from nats.aio.client import Client
from pymongo.errors import OperationFailure

from sluice_core.edge.broker import Broker
from sluice_core.edge.letters import count_letters, list_letters, remove_letter, write_letter
from sluice_core.errors import BrokerUnavailable
from sluice_core.letter import Letter
from sluice_core.names import (
    DLQ_STREAM,
    REGISTRY_DATABASE,
    TENANT_INFO_COLLECTION,
    WORKER_USER,
    dead_letter_subject,
    parked_subject,
)
from sluice_core.reasons import BUFFERED
from sluice_local.credentials import INGEST_USER
from sluice_local.operator_rights import Login
from support.sluice import TEXT, Account, Document, Sluice, line

UNAUTHORIZED = 13
MongoClient = pymongo.AsyncMongoClient[Document]
Deed = Callable[[MongoClient], Awaitable[Any]]


@asynccontextmanager
async def broker_as(sluice: Sluice, user: str, refusals: list[str] | None = None) -> AsyncIterator[Client]:
    async def note(error: Exception) -> None:
        if refusals is not None:
            refusals.append(str(error))

    password: str = getattr(sluice.stack.servers.credentials, f"nats_{user}")
    client = await nats.connect(
        sluice.stack.servers.nats_url,
        user=user,
        password=password,
        inbox_prefix=f"_INBOX_{user}".encode(),
        allow_reconnect=False,
        error_cb=note,
    )
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def database_as(uri: str) -> AsyncIterator[MongoClient]:
    client: MongoClient
    async with pymongo.AsyncMongoClient(uri, serverSelectionTimeoutMS=5000) as client:
        yield client


def worker_uri(sluice: Sluice) -> str:
    password = sluice.stack.servers.credentials.mongodb_worker
    return f"mongodb://{WORKER_USER}:{password}@{sluice.stack.servers.mongodb_host}/?authSource=admin&replicaSet=rs0"


async def refused(deed: Awaitable[Any]) -> bool:
    try:
        await deed
    except OperationFailure as error:
        return error.code == UNAUTHORIZED
    return False


# -- the broker ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("user", ["ingest", "worker"])
@pytest.mark.parametrize("subject", ["logs.>", "logs.standard", ">", "dlq.>", "parked.>", "$JS.>", "_INBOX.>"])
async def test_nobody_listens_to_lanes_dead_letters_or_others(sluice: Sluice, user: str, subject: str) -> None:
    refusals: list[str] = []
    async with broker_as(sluice, user, refusals) as client:
        await client.subscribe(subject)
        await client.flush()
        await client.flush()
    assert len(refusals) == 1
    assert "permissions violation for subscription" in refusals[0]


async def refusals_of(sluice: Sluice, user: str, subject: str) -> list[str]:
    """What the broker says to a publish. To whoever waits for an answer a refusal looks like silence."""
    refusals: list[str] = []
    async with broker_as(sluice, user, refusals) as client:
        await client.publish(subject, b"{}")
        # The first may overtake what is only queued; the second cannot.
        await client.flush()
        await client.flush()
    return refusals


@pytest.mark.parametrize("user", ["ingest", "worker"])
@pytest.mark.parametrize(
    "subject",
    [
        "$JS.API.STREAM.MSG.GET.SLUICE_DLQ",
        "$JS.API.STREAM.MSG.GET.SLUICE_LANE_standard",
        "$JS.API.DIRECT.GET.SLUICE_LANE_standard",
        "$JS.API.CONSUMER.CREATE.SLUICE_DLQ",
        "$JS.API.CONSUMER.CREATE.SLUICE_LANE_standard",
        "$JS.API.CONSUMER.DELETE.SLUICE_LANE_standard.workers",
        "$JS.API.CONSUMER.MSG.NEXT.SLUICE_LANE_standard.other",
        "$JS.API.STREAM.MSG.DELETE.SLUICE_LANE_standard",
        "$JS.API.STREAM.MSG.DELETE.KV_sluice_tenants",
        "$JS.API.STREAM.PURGE.SLUICE_LANE_standard",
        "$JS.API.STREAM.PURGE.SLUICE_DLQ",
        "$JS.API.STREAM.DELETE.SLUICE_DLQ",
        "$JS.API.STREAM.UPDATE.SLUICE_DLQ",
        "$JS.API.STREAM.CREATE.MINE",
        "$JS.API.STREAM.INFO.SLUICE_LANE_standard",
        "$JS.API.STREAM.LIST",
        "$KV.sluice_tenants.acme",
        "$SYS.REQ.SERVER.PING",
    ],
)
async def test_nobody_reads_or_changes_streams_that_are_not_his(sluice: Sluice, user: str, subject: str) -> None:
    [refusal] = await refusals_of(sluice, user, subject)
    assert "permissions violation for publish" in refusal


@pytest.mark.parametrize(
    ("user", "subject"),
    [
        ("ingest", "$JS.API.CONSUMER.MSG.NEXT.SLUICE_LANE_standard.workers"),
        ("ingest", "$JS.ACK.SLUICE_LANE_standard.workers.1.1.1.1.0"),
        ("ingest", "dlq.acme"),
        ("ingest", "sluice.hb.worker.1"),
        ("worker", "logs.standard"),
        ("worker", "sluice.hb.ingest.1"),
        ("worker", "$JS.API.DIRECT.GET.SLUICE_DLQ"),
        ("worker", "$JS.API.STREAM.MSG.DELETE.SLUICE_DLQ"),
        ("worker", "$JS.API.STREAM.INFO.SLUICE_DLQ"),
    ],
)
async def test_neither_part_does_the_others_work(sluice: Sluice, user: str, subject: str) -> None:
    [refusal] = await refusals_of(sluice, user, subject)
    assert "permissions violation for publish" in refusal


async def test_ingest_parks_reads_counts_and_takes_away_letters_and_buries_none(
    sluice: Sluice, tenant: Account
) -> None:
    servers = sluice.stack.servers
    ingest = Broker(Login(servers.nats_url, INGEST_USER, servers.credentials.nats_ingest))
    await ingest.connect()
    try:
        letter = Letter(tenant_id=tenant.id, reason=BUFFERED.code)
        await write_letter(ingest, subject := parked_subject(f"of-{tenant.id}"), letter, b"content")
        [stored] = await list_letters(ingest, subject)
        assert (stored.letter.reason, stored.payload) == (BUFFERED.code, b"content")
        assert await count_letters(ingest, subject) == {subject: 1}
        assert await remove_letter(ingest, stored.sequence)
        assert await list_letters(ingest, subject) == []
        with pytest.raises(BrokerUnavailable):
            await write_letter(ingest, dead_letter_subject(tenant.id), letter, b"content", timeout=0.5)
        with pytest.raises(BrokerUnavailable):
            await ingest.api(f"STREAM.PURGE.{DLQ_STREAM}", {"filter": subject}, timeout=0.5)
    finally:
        await ingest.close()
    assert await sluice.dead_letters(tenant) == []


@pytest.mark.parametrize(
    "connect",
    [b"{}", b'{"user":"ingest","pass":"wrong"}', b'{"user":"nobody","pass":""}', b'{"auth_token":"x"}'],
)
async def test_the_broker_lets_nobody_in_without_a_password(sluice: Sluice, connect: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", sluice.stack.servers.ports.nats)
    await reader.readline()
    writer.write(b"CONNECT " + connect + b"\r\nPING\r\n")
    assert b"Authorization Violation" in await reader.readline()
    writer.close()
    await writer.wait_closed()


# -- the database ----------------------------------------------------------------------------------------------------

LISTINGS: dict[str, Deed] = {
    "list users": lambda client: client.admin.command("usersInfo", 1),
    "list users of all": lambda client: client.admin.command("usersInfo", {"forAllDBs": True}),
    "read users": lambda client: client.admin["system.users"].find_one(),
    "read roles' privileges": lambda client: client.admin.command("rolesInfo", 1, showPrivileges=True),
    "read the log": lambda client: client.admin.command("getLog", "global"),
    "read the oplog": lambda client: client.local["oplog.rs"].find_one(),
    "read the registry": lambda client: client[REGISTRY_DATABASE].tenants.find_one(),
    "write the registry": lambda client: client[REGISTRY_DATABASE].tenants.insert_one({}),
    "write elsewhere": lambda client: client["elsewhere"].processed_logs.insert_one({}),
    "write to a tenant that is none": lambda client: client["tenant_nobody"].processed_logs.insert_one({}),
    "make a user": lambda client: client.admin.command("createUser", "x", pwd="x", roles=["root"]),
    "take a role": lambda client: client.admin.command("grantRolesToUser", WORKER_USER, roles=["root"]),
    "stop the server": lambda client: client.admin.command("shutdown"),
}


@pytest.mark.parametrize("deed", LISTINGS)
async def test_the_worker_reaches_nothing_but_logs_of_tenants(sluice: Sluice, deed: str) -> None:
    async with database_as(worker_uri(sluice)) as client:
        assert await refused(LISTINGS[deed](client))


@pytest.mark.parametrize("deed", LISTINGS)
async def test_a_tenants_reader_reaches_nothing_of_the_platform(sluice: Sluice, tenant: Account, deed: str) -> None:
    async with database_as(tenant.secret.mongodb_uri) as client:
        assert await refused(LISTINGS[deed](client))


async def test_the_worker_may_insert_find_and_update_a_tenants_logs_and_no_more(
    sluice: Sluice, tenant: Account
) -> None:
    async with database_as(worker_uri(sluice)) as client:
        database = client[f"tenant_{tenant.id}"]
        logs = database.processed_logs
        await logs.insert_one({"_id": "x"})
        await logs.update_one({"_id": "x"}, {"$set": {"a": 1}})
        assert await logs.find_one() == {"_id": "x", "a": 1}
        assert await refused(logs.delete_one({"_id": "x"}))
        assert await refused(logs.drop())
        assert await refused(logs.create_index("a"))
        assert await refused(database.command("dropDatabase"))
        assert await refused(database.command("collMod", "processed_logs", validator={}))
        assert await refused(database[TENANT_INFO_COLLECTION].find_one())
        assert await refused(database["another"].insert_one({}))
        assert await refused(database["another"].find_one())


async def test_a_tenants_reader_reads_its_own_database_and_writes_nothing(
    sluice: Sluice, tenant: Account, other: Account
) -> None:
    for who in (tenant, other):
        assert (await sluice.send(who, line(), TEXT)).status_code == 202
    [document] = await sluice.documents(tenant)
    await sluice.documents(other)
    async with database_as(tenant.secret.mongodb_uri) as client:
        own = client.get_default_database()
        assert (await own.processed_logs.find_one() or {})["_id"] == document["_id"]
        assert await own.processed_logs.count_documents({}) == 1
        for deed in (
            own.processed_logs.insert_one({}),
            own.processed_logs.update_one({}, {"$set": {"a": 1}}),
            own.processed_logs.delete_one({}),
            own.processed_logs.drop(),
            own.command("dropDatabase"),
            own.command("createUser", "x", pwd="x", roles=[]),
            own.processed_logs.aggregate([{"$out": "copy"}]),
        ):
            assert await refused(deed)
        for foreign in (f"tenant_{other.id}", REGISTRY_DATABASE, "admin"):
            assert await refused(client[foreign].processed_logs.find_one())
        lookup = {"from": {"db": f"tenant_{other.id}", "coll": "processed_logs"}, "pipeline": [], "as": "x"}
        with pytest.raises(OperationFailure):
            await (await own.processed_logs.aggregate([{"$lookup": lookup}])).to_list()
        assert await client.list_database_names() == [own.name]
    assert len(await sluice.documents(tenant)) == len(await sluice.documents(other)) == 1


async def test_the_database_lets_nobody_in_without_a_password(sluice: Sluice, tenant: Account) -> None:
    host = sluice.stack.servers.mongodb_host
    async with database_as(f"mongodb://{host}/?directConnection=true") as client:
        assert await refused(client[f"tenant_{tenant.id}"].processed_logs.find_one())
        assert await refused(client.list_database_names())
        assert await refused(client.admin.command("createUser", "x", pwd="x", roles=["root"]))
    async with database_as(f"mongodb://{WORKER_USER}:wrong@{host}/?authSource=admin&directConnection=true") as client:
        with pytest.raises(OperationFailure, match="Authentication failed"):
            await client.list_database_names()


async def test_ingest_is_given_no_way_into_the_database(sluice: Sluice) -> None:
    environ = psutil.Process(sluice.stack.ingest.process.pid).environ()
    assert not [name for name, value in environ.items() if "mongodb" in (name + value).lower()]
    credentials = sluice.stack.servers.credentials
    secrets = {credentials.mongodb_admin, credentials.mongodb_worker, credentials.worker_master_secret}
    secrets |= {credentials.nats_worker, credentials.nats_operator}
    assert not secrets & set(environ.values())
