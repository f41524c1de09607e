"""One tenant's database does not take records: they are parked and come back, and nobody else notices."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import pytest
from pymongo.errors import PyMongoError

from sluice_core.edge.heartbeats import Roster
from sluice_core.edge.lanes import ensure_consumer, ensure_stream
from sluice_core.heartbeat import WorkerHeartbeat
from sluice_core.names import (
    DLQ_STREAM,
    LOGS_COLLECTION,
    STANDARD_LANE,
    WORKER_ROLE,
    WORKERS,
    lane_stream,
    tenant_database,
)
from support.ledger import Ledger
from support.sluice import Account, Sluice, line, running
from support.waiting import eventually

IN_TIME = 15.0
"""Seconds after which somebody else's record counts as held up."""
Trouble = Callable[[Sluice, Account], AbstractAsyncContextManager[None]]

BACK = 60.0
"""Seconds after which what was parked must be back; its back-off is 30 s at most."""


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sluice]:
    """A stack of its own, whose worker gives up a call after 2 s: what is broken here is everybody's."""
    running_stack = running(tmp_path_factory.mktemp("parking"), environ={"SLUICE_STORE_TIMEOUT": "2"})
    # Held still, the stack does not mend at once what is broken here.
    async with running_stack as sluice, sluice.stack.keeper.still():
        yield sluice


@pytest.fixture
def book(stack: Sluice) -> Ledger:
    return Ledger(stack)


@asynccontextmanager
async def a_view_instead(sluice: Sluice, tenant: Account) -> AsyncIterator[None]:
    """The tenant's collection is moved away, and a view has its name."""
    client, name = sluice.stack.rights.client, f"{tenant_database(tenant.id)}.{LOGS_COLLECTION}"
    # While nothing has the name, a record that comes would make the collection anew.
    async with without_privilege(sluice, tenant):
        await client.admin.command("renameCollection", name, to=f"{name}_moved")
        await sluice.database(tenant).command("create", LOGS_COLLECTION, viewOn="nothing", pipeline=[])
    yield
    async with without_privilege(sluice, tenant):
        await sluice.logs(tenant).drop()
        await client.admin.command("renameCollection", f"{name}_moved", to=name)


@asynccontextmanager
async def locked(sluice: Sluice, tenant: Account) -> AsyncIterator[None]:
    """A change of the collection waits for a transaction, and every write waits for the change."""
    client = sluice.stack.rights.client
    async with await client.start_session() as session:
        session.start_transaction()
        await sluice.logs(tenant).insert_one({"_id": "never committed"}, session=session)
        change = asyncio.ensure_future(sluice.database(tenant).command("collMod", LOGS_COLLECTION, validator={}))
        await asyncio.sleep(0.3)
        yield
        await session.abort_transaction()
    await asyncio.gather(change, return_exceptions=True)


@asynccontextmanager
async def without_privilege(sluice: Sluice, tenant: Account) -> AsyncIterator[None]:
    """The worker's role has lost this tenant."""
    admin = sluice.stack.rights.client.admin
    resource = {"db": tenant_database(tenant.id), "collection": LOGS_COLLECTION}
    privilege = {"resource": resource, "actions": ["find", "insert", "update"]}
    await admin.command("revokePrivilegesFromRole", WORKER_ROLE, privileges=[privilege])
    yield
    await admin.command("grantPrivilegesToRole", WORKER_ROLE, privileges=[privilege])


@pytest.mark.parametrize(
    ("trouble", "detail"),
    [
        (a_view_instead, "the database answered error 166"),
        (without_privilege, "AccessDenied"),
        (locked, "StoreUnavailable"),
    ],
)
async def test_what_a_database_refuses_is_parked_and_stored_when_it_takes_it(
    stack: Sluice, book: Ledger, trouble: Trouble, detail: str
) -> None:
    tenant, other = await stack.tenant("refusing"), await stack.tenant("other")
    await book.send_lines(tenant, 5)
    await book.send(tenant, [{"log_id": "x", "text": line("older")}])
    await book.check()
    async with trouble(stack, tenant):
        await book.send_lines(tenant, 50)
        await book.send(tenant, [{"log_id": "x", "text": (newer := line("newer"))}])

        async def parked() -> bool:
            return bool(await stack.parked(tenant))

        await eventually(parked, within=IN_TIME)
        letters = await stack.parked(tenant)
        assert {(one.letter.reason, one.letter.detail) for one in letters} == {("store_refuses", detail)}
        assert {one.letter.tenant_id for one in letters} == {tenant.id}
        for _ in range(5):
            begun = time.monotonic()
            await book.send_lines(other, 20)
            await eventually(lambda: all_of(book, stack, other), within=IN_TIME)
            assert time.monotonic() - begun < IN_TIME
        assert await stack.dead_letters(tenant.id) == []
    await book.check(within=BACK)
    assert await stack.dead_letters(tenant) == []
    assert await stack.parked(tenant) == []
    documents = {document["_id"]: document for document in await stack.documents(tenant)}
    assert len(documents) == 56
    assert documents["x"]["original_text"] == newer
    assert await stack.settled(tenant, "store_refuses") >= 51
    assert await stack.metric("worker-standard", "sluice_worker_circuits_open") == 0


async def all_of(book: Ledger, sluice: Sluice, tenant: Account) -> bool:
    wanted = sum(entry.tenant == tenant.id for entry in book.accepted)
    return await sluice.logs(tenant).count_documents({}) == wanted


async def test_a_record_keeps_its_version_on_the_detour(stack: Sluice, book: Ledger) -> None:
    """Parked first and stored last, it is still the older one of the two."""
    tenant = await stack.tenant("version")
    async with a_view_instead(stack, tenant):
        await book.send(tenant, [{"log_id": "x", "text": line("older")}])

        async def parked() -> bool:
            return bool(await stack.parked(tenant))

        await eventually(parked, within=IN_TIME)
        older = (await stack.parked(tenant))[0]
    await book.send(tenant, [{"log_id": "x", "text": (newer := line("newer"))}])
    await book.check(within=BACK)
    document = await stack.document(tenant)
    assert document["original_text"] == newer
    time_, sequence, _ = map(int, older.letter.version.split("."))
    assert (time_, sequence) < (document["version"]["time"], document["version"]["sequence"])


async def test_workers_say_who_is_refused_and_what_they_settled(stack: Sluice, book: Ledger) -> None:
    tenant = await stack.tenant("heard")
    heard: list[WorkerHeartbeat] = []
    roster = Roster(stack.broker, lambda one: heard.append(one) if isinstance(one, WorkerHeartbeat) else None)
    await roster.start()
    await book.send_lines(tenant, 10)

    async def settled() -> bool:
        return any(one.settled.get(tenant.id, 0) > 10 * len(line()) for one in heard)

    async def idle() -> bool:
        return any(one.idle for one in heard[-2:])

    await eventually(settled, within=IN_TIME)
    await eventually(idle, within=IN_TIME)
    assert {one.lane for one in heard} == {STANDARD_LANE}
    assert len({one.instance for one in heard}) == 1
    async with a_view_instead(stack, tenant):
        await book.send_lines(tenant, 1)

        async def refusing() -> bool:
            return tenant.id in heard[-1].refusing

        await eventually(refusing, within=IN_TIME)
    await book.check(within=BACK)
    instance = heard[-1].instance
    stack.servers["worker-standard"].process.send_signal(signal.SIGTERM)

    async def another() -> bool:
        return heard[-1].instance != instance

    await eventually(another, within=30)
    assert [one.stopping for one in heard if one.instance == instance][-1]


# -- everybody's trouble ---------------------------------------------------------------------------------------------
async def test_a_primary_that_steps_down_delays_and_parks_nothing(stack: Sluice, book: Ledger) -> None:
    tenant, other = await stack.tenant("stepping"), await stack.tenant("stepping")
    parked_before = await stack.metric("worker-standard", "sluice_worker_parked_total")

    async def send_all() -> None:
        for _ in range(60):
            for who in (tenant, other):
                await book.send_lines(who, 5)
            await asyncio.sleep(0.1)

    sending = asyncio.create_task(send_all())
    await asyncio.sleep(1)
    with suppress(PyMongoError):  # it may close the connection with its answer
        await stack.stack.rights.client.admin.command("replSetStepDown", 4, force=True)
    await sending
    await book.check(within=BACK)
    assert await stack.metric("worker-standard", "sluice_worker_parked_total") == parked_before
    assert await stack.dead_letters(tenant) == await stack.dead_letters(other) == []


async def test_a_database_that_stands_still_for_longer_than_a_call_parks_nothing(stack: Sluice, book: Ledger) -> None:
    tenant = await stack.tenant("still")
    parked_before = await stack.metric("worker-standard", "sluice_worker_parked_total")
    process = stack.servers["mongod"].process
    process.send_signal(signal.SIGSTOP)
    try:
        for _ in range(5):
            await book.send_lines(tenant, 5)
            await asyncio.sleep(1)
    finally:
        process.send_signal(signal.SIGCONT)
    await book.check(within=BACK)
    assert await stack.metric("worker-standard", "sluice_worker_parked_total") == parked_before


# -- a lane that is lost ---------------------------------------------------------------------------------------------
async def test_a_consumer_that_was_deleted_and_is_back_is_worked_on(stack: Sluice, book: Ledger) -> None:
    tenant = await stack.tenant("consumer")
    pid = stack.servers["worker-standard"].process.pid
    await book.send_lines(tenant, 5)
    await book.check()
    await stack.broker.api(f"CONSUMER.DELETE.{lane_stream(STANDARD_LANE)}.{WORKERS}")
    await book.send_lines(tenant, 5)
    await asyncio.sleep(1)
    await ensure_consumer(stack.broker, lane_stream(STANDARD_LANE))
    await book.check(within=IN_TIME)
    assert stack.servers["worker-standard"].process.pid == pid


async def test_a_lane_that_was_deleted_and_is_back_is_worked_on(stack: Sluice, book: Ledger) -> None:
    tenant = await stack.tenant("stream")
    pid = stack.servers["worker-standard"].process.pid
    await book.send_lines(tenant, 5)
    await book.check()
    stream = lane_stream(STANDARD_LANE)
    wanted = (await stack.broker.api(f"STREAM.INFO.{stream}"))["config"]
    await stack.broker.api(f"STREAM.DELETE.{stream}")
    await asyncio.sleep(1)
    await ensure_stream(stack.broker, wanted)
    await ensure_consumer(stack.broker, stream)
    await book.send_lines(tenant, 5)
    await book.check(within=IN_TIME)
    assert stack.servers["worker-standard"].process.pid == pid
    assert await stack.dead_letters(tenant) == []


async def test_without_a_place_for_dead_letters_their_messages_wait(stack: Sluice, book: Ledger) -> None:
    tenant, other = await stack.tenant("letterless"), await stack.tenant("letterless")
    wanted = (await stack.broker.api(f"STREAM.INFO.{DLQ_STREAM}"))["config"]
    await stack.database(tenant).command("collMod", LOGS_COLLECTION, validator={"char_count": {"$lt": 100}})
    await stack.broker.api(f"STREAM.DELETE.{DLQ_STREAM}")
    await book.send(tenant, [{"log_id": "bad", "text": line("x" * 100)}, {"log_id": "good", "text": line()}])
    await book.send_lines(other, 5)
    await eventually(lambda: all_of(book, stack, other), within=IN_TIME)
    await ensure_stream(stack.broker, wanted)
    await book.check(within=BACK)
    [stored] = await stack.dead_letters(tenant)
    assert (stored.letter.log_id, stored.letter.reason) == ("bad", "write_refused")


async def test_where_no_more_may_be_parked_the_message_comes_again_later(stack: Sluice, book: Ledger) -> None:
    """The cap is for each subject: here it is none at all, for everybody."""
    tenant, other = await stack.tenant("capped"), await stack.tenant("capped")
    wanted = (await stack.broker.api(f"STREAM.INFO.{DLQ_STREAM}"))["config"]
    large = [{"text": line("x" * 150_000)} for _ in range(2)]  # two do not fit into one letter
    async with a_view_instead(stack, tenant):
        await book.send(tenant, large[:1])

        async def parked() -> bool:
            return bool(await stack.parked(tenant))

        await eventually(parked, within=IN_TIME)
        await stack.broker.api(f"STREAM.UPDATE.{DLQ_STREAM}", {**wanted, "max_msgs_per_subject": 1})
        await book.send(tenant, large[1:])

        async def put_off() -> bool:
            return await stack.metric("worker-standard", "sluice_worker_deferred_total", tenant=tenant.id) > 0

        await eventually(put_off, within=IN_TIME)
        await book.send_lines(other, 20)
        await eventually(lambda: all_of(book, stack, other), within=IN_TIME)
    await stack.broker.api(f"STREAM.UPDATE.{DLQ_STREAM}", wanted)
    await book.check(within=2 * BACK)
    assert len(await stack.documents(tenant)) == 2
