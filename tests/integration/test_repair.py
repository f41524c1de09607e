"""What provisioning made comes back by itself, whatever happened to it: 503 until then, never 401, and no restart."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
import pytest

from sluice_core.edge.broker import Msg
from sluice_core.edge.bucket import read_bucket, read_snapshot
from sluice_core.edge.keeper import KEEP_SECONDS
from sluice_core.edge.repair import Mended
from sluice_core.errors import BrokerError
from sluice_core.names import (
    DLQ_STREAM,
    LOGS_COLLECTION,
    SEAL_KEY,
    STANDARD_LANE,
    TENANTS_STREAM,
    WORKER_ROLE,
    WORKERS,
    lane_stream,
    tenant_config_subject,
    tenant_database,
)
from sluice_core.tenant import decode_config
from sluice_local.operator_rights import operator_rights
from support.behind import overwrite_config
from support.ledger import Ledger
from support.sluice import Account, Sluice, line, manifest, running, unique_id
from support.waiting import eventually

IN_TIME = 4 * KEEP_SECONDS
"""Seconds; it takes one interval of the keeper, and the parts' own looks after that."""


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sluice]:
    """A stack of its own: what is broken here is everybody's."""
    async with running(tmp_path_factory.mktemp("repair")) as sluice:
        yield sluice


@pytest.fixture
async def book(stack: Sluice) -> Ledger:
    return Ledger(stack)


@asynccontextmanager
async def load(ledger: Ledger, *tenants: Account) -> AsyncIterator[set[int]]:
    """Senders that repeat each record until it got its 202; gives the set of all answers' statuses."""
    stopping = asyncio.Event()
    seen: set[int] = set()

    async def sender(tenant: Account) -> None:
        while not stopping.is_set():
            record = {"log_id": unique_id("repair"), "text": line()}
            while True:
                try:
                    answer, _ = await ledger.send(tenant, [record])
                except httpx.TransportError:
                    continue
                seen.add(answer.status_code)
                if answer.status_code != 503:
                    break
                await asyncio.sleep(0.05)

    async with asyncio.TaskGroup() as group:
        for tenant in tenants * 2:
            group.create_task(sender(tenant))
        try:
            yield seen
        finally:
            stopping.set()


async def accepts(book: Ledger, tenant: Account) -> None:
    """Wait until a record of the tenant is taken; whatever is answered before invites a retry."""
    record = {"log_id": unique_id("taken"), "text": line()}

    async def taken() -> bool:
        answer, _ = await book.send(tenant, [record])
        assert answer.status_code in {202, 503}, answer.text
        return answer.status_code == 202

    await eventually(taken, within=IN_TIME)


async def pids(sluice: Sluice) -> dict[str, int]:
    return {name: server.process.pid for name, server in sluice.servers.items()}


async def rounds(sluice: Sluice) -> None:
    """So many rounds that each tenant had its turn."""
    for _ in range(len(await sluice.databases())):
        await sluice.stack.keeper.once()


async def config_of(sluice: Sluice, call: str) -> dict[str, Any] | None:
    try:
        config: dict[str, Any] = (await sluice.broker.api(call))["config"]
    except BrokerError:
        return None
    return config


# -- the broker as a whole -------------------------------------------------------------------------------------------


async def test_a_broker_that_comes_back_empty_is_filled_again(stack: Sluice, book: Ledger) -> None:
    """What was accepted and not stored yet is lost with the broker's disk by definition, so nothing is on its way when
    it is wiped. Afterwards everything is as before, and a deleted tenant's lane is not among it."""
    tenants = [await stack.tenant("wiped"), await stack.tenant("wiped-own", lane="Dedicated")]
    gone = await stack.tenant("wiped-gone", lane="Dedicated")
    await stack.stack.rights.deletion.delete(gone.id)
    for tenant in tenants:
        await book.send_lines(tenant, 3)
    await book.check()
    before = await read_snapshot(stack.broker)
    running_before = await pids(stack)
    nats = stack.stack.servers.nats
    async with stack.stack.without(nats):
        shutil.rmtree(stack.stack.data_dir / "nats")
    for tenant in tenants:
        await accepts(book, tenant)
    async with load(book, *tenants) as seen:
        await asyncio.sleep(1)
    assert seen == {202}
    await book.check()
    assert (await read_snapshot(stack.broker)).entries == before.entries
    assert await config_of(stack, f"STREAM.INFO.{lane_stream(gone.lane)}") is None
    assert await config_of(stack, f"STREAM.INFO.{DLQ_STREAM}") is not None
    after = await pids(stack)
    assert {name for name, pid in after.items() if running_before.get(name) != pid} == {nats.name}


async def test_while_the_broker_is_empty_no_key_is_called_unknown(stack: Sluice, book: Ledger) -> None:
    """Also asked without pause, and by an ingest process that has never seen the tenants."""
    tenant = await stack.tenant("asked")
    await accepts(book, tenant)
    await stack.idle()
    second = await stack.stack.start_ingest()
    statuses: set[int] = set()
    stopping = asyncio.Event()

    async def ask(url: str) -> None:
        while not stopping.is_set():
            try:
                answer = await stack.http.post(
                    f"{url}/ingest", json={"text": line()}, headers={"Authorization": f"Bearer {tenant.key}"}
                )
            except httpx.TransportError:
                continue
            statuses.add(answer.status_code)
            await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as group:
        async with stack.stack.without(second), stack.stack.without(stack.stack.servers.nats):
            group.create_task(ask(stack.url))
            group.create_task(ask(second.url))
            shutil.rmtree(stack.stack.data_dir / "nats")
            await asyncio.sleep(0.5)
        await accepts(book, tenant)
        await asyncio.sleep(1)
        stopping.set()
    assert statuses == {202, 503}


# -- streams and consumers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lane", ["Standard", "Dedicated"])
async def test_a_lane_whose_stream_is_deleted_under_load_takes_and_stores_again(
    stack: Sluice, book: Ledger, lane: str
) -> None:
    """What was in the stream is lost by definition. So the load stops, what was accepted is stored, and only then the
    stream goes; new load meets a lane without one, and every 202 it gets is kept."""
    tenant = await stack.tenant("streamless", lane=lane)
    async with load(book, tenant):
        await asyncio.sleep(0.3)
    await book.check()
    before = await config_of(stack, f"STREAM.INFO.{lane_stream(tenant.lane)}")
    await stack.broker.api(f"STREAM.DELETE.{lane_stream(tenant.lane)}")
    async with load(book, tenant) as seen:
        await accepts(book, tenant)
        await asyncio.sleep(0.5)
    assert seen <= {202, 503}
    await book.check()
    assert await config_of(stack, f"STREAM.INFO.{lane_stream(tenant.lane)}") == before


@pytest.mark.parametrize("lane", ["Standard", "Dedicated"])
async def test_a_consumer_deleted_under_load_comes_back_and_nothing_is_lost(
    stack: Sluice, book: Ledger, lane: str
) -> None:
    """Its messages stay in the stream, so all of them are in the ledger."""
    tenant = await stack.tenant("consumerless", lane=lane)
    async with load(book, tenant) as seen:
        await asyncio.sleep(0.3)
        await stack.broker.api(f"CONSUMER.DELETE.{lane_stream(tenant.lane)}.{WORKERS}")
        await asyncio.sleep(0.5)
    assert seen == {202}
    await book.check(within=IN_TIME)


@pytest.mark.parametrize(
    ("stream", "change"),
    [
        (lane_stream(STANDARD_LANE), {"subjects": ["closed.standard"]}),
        (lane_stream(STANDARD_LANE), {"max_bytes": 1_000_000}),
        (lane_stream(STANDARD_LANE), {"max_age": 3_600_000_000_000}),
        (DLQ_STREAM, {"max_msgs_per_subject": 1_000_000}),
        (DLQ_STREAM, {"discard": "old", "discard_new_per_subject": False}),
        (TENANTS_STREAM, {"max_bytes": 50_000_000}),
        (TENANTS_STREAM, {"allow_direct": False}),
    ],
    ids=["subjects", "size", "age", "cap", "discard", "bucket's size", "bucket's reads"],
)
async def test_a_stream_that_was_changed_is_changed_back(stack: Sluice, stream: str, change: dict[str, Any]) -> None:
    before = await config_of(stack, f"STREAM.INFO.{stream}")
    assert before is not None
    await stack.broker.api(f"STREAM.UPDATE.{stream}", {**before, **change})
    assert await config_of(stack, f"STREAM.INFO.{stream}") != before
    await stack.stack.keeper.once()
    assert await config_of(stack, f"STREAM.INFO.{stream}") == before


@pytest.mark.parametrize("lane", ["Standard", "Dedicated"])
async def test_a_consumer_that_was_changed_is_changed_back(stack: Sluice, lane: str) -> None:
    tenant = await stack.tenant("changed", lane=lane)
    stream = lane_stream(tenant.lane)
    before = await config_of(stack, f"CONSUMER.INFO.{stream}.{WORKERS}")
    assert before is not None
    changed_config = {**before, "ack_wait": 1_000_000_000, "max_ack_pending": 1}
    await stack.broker.api(
        f"CONSUMER.DURABLE.CREATE.{stream}.{WORKERS}", {"stream_name": stream, "config": changed_config}
    )
    await stack.stack.keeper.once()
    assert await config_of(stack, f"CONSUMER.INFO.{stream}.{WORKERS}") == before


async def test_the_stream_of_dead_letters_comes_back(stack: Sluice) -> None:
    before = await config_of(stack, f"STREAM.INFO.{DLQ_STREAM}")
    await stack.broker.api(f"STREAM.DELETE.{DLQ_STREAM}")

    async def back() -> bool:
        return await config_of(stack, f"STREAM.INFO.{DLQ_STREAM}") == before

    await eventually(back, within=IN_TIME)


# -- the bucket ------------------------------------------------------------------------------------------------------


async def lose_bucket(sluice: Sluice, tenant: Account) -> None:
    await sluice.broker.api(f"STREAM.DELETE.{TENANTS_STREAM}")


async def empty_bucket(sluice: Sluice, tenant: Account) -> None:
    await sluice.broker.api(f"STREAM.PURGE.{TENANTS_STREAM}")


async def lose_seal(sluice: Sluice, tenant: Account) -> None:
    await sluice.broker.api(f"STREAM.PURGE.{TENANTS_STREAM}", {"filter": tenant_config_subject(SEAL_KEY)})


async def lose_entry(sluice: Sluice, tenant: Account) -> None:
    await sluice.broker.api(f"STREAM.PURGE.{TENANTS_STREAM}", {"filter": tenant_config_subject(tenant.id)})


@pytest.mark.parametrize("lose", [lose_bucket, empty_bucket, lose_seal, lose_entry])
async def test_what_the_bucket_lost_is_written_again_and_no_key_is_called_unknown_meanwhile(
    stack: Sluice, book: Ledger, lose: Callable[[Sluice, Account], Awaitable[None]]
) -> None:
    tenant, other = await stack.tenant("lost"), await stack.tenant("lost-other")
    for one in (tenant, other):
        await accepts(book, one)
    await stack.stack.keeper.once()  # until then the seal does not count a tenant made a moment ago
    before = (await read_snapshot(stack.broker)).entries
    async with load(book, tenant, other) as seen:
        await lose(stack, tenant)

        async def back() -> bool:
            try:
                return (await read_snapshot(stack.broker)).entries == before
            except BrokerError:
                return False

        await eventually(back, within=IN_TIME)
        await asyncio.sleep(2.5)
    assert seen <= {202, 503}
    await book.check()


@pytest.mark.parametrize(
    ("change", "raised"),
    [
        ({"revision": 0, "suspension": "Reject"}, 0),
        ({"suspension": "Reject"}, 1),
        ({"revision": 40, "suspension": "Reject"}, 1),
        ({"revision": 40, "uid": "another", "keys": ()}, 1),
        ({"revision": 40, "state": "gone"}, 1),
    ],
    ids=["older", "same revision", "newer", "another provisioning", "tombstone"],
)
async def test_an_entry_that_provisioning_did_not_write_is_overruled_everywhere(
    stack: Sluice, book: Ledger, change: dict[str, Any], raised: int
) -> None:
    """A process never goes back to a lower revision, so the registry's must become the higher one."""
    tenant = await stack.tenant("foreign")
    await accepts(book, tenant)
    foreign = msgspec.structs.replace(tenant.config, **change)
    await overwrite_config(stack, foreign)

    await stack.stack.keeper.once()
    entry = (await read_bucket(stack.broker))[tenant.id]
    revision = foreign.revision + 1 if raised else tenant.config.revision
    assert decode_config(entry.value) == msgspec.structs.replace(tenant.config, revision=revision)
    claim = await stack.stack.rights.provisioner.find(tenant.id)
    assert claim.config is not None
    assert claim.revision == claim.config.revision

    async def taken() -> bool:
        return (await stack.send(tenant, {"text": line()})).status_code == 202

    await eventually(taken, within=IN_TIME)
    again = await stack.tenant(tenant.id, exactly=True, suspension="Reject")
    assert again.config.revision > foreign.revision


async def test_beside_another_process_that_provisions_no_revision_is_taken_back(stack: Sluice) -> None:
    """As `sluice tenants apply` does, which knows nothing of this process's lock."""
    tenant = await stack.tenant("beside")
    stopping = asyncio.Event()
    revisions: list[int] = []

    async def note(message: Msg) -> None:
        revisions.append(decode_config(message.data).revision)

    async def repair() -> None:
        while not stopping.is_set():
            await stack.stack.rights.repair.run()

    subscription = await stack.broker.subscribe(tenant_config_subject(tenant.id), note)
    async with asyncio.TaskGroup() as group, operator_rights(stack.stack.data_dir) as elsewhere:
        repairing = [group.create_task(repair()) for _ in range(2)]
        for days in range(1, 31):
            changed = await elsewhere.provisioner.apply(manifest(tenant.id, retention={"days": days}))
        stopping.set()
        await asyncio.wait(repairing)
    await subscription.unsubscribe()
    # The same one twice is harmless: a repair may write what the other process is about to write.
    assert revisions == sorted(revisions)
    assert changed.config is not None
    assert changed.config.retention_days == 30
    assert decode_config((await read_bucket(stack.broker))[tenant.id].value) == changed.config


# -- the database ----------------------------------------------------------------------------------------------------


async def test_a_privilege_that_the_workers_lost_is_given_again(stack: Sluice, book: Ledger) -> None:
    tenant = await stack.tenant("unprivileged")
    await stack.stack.rights.provisioner.access.revoke_worker_privilege(tenant.id)
    await book.send_lines(tenant, 3)
    await book.check(within=60)


async def test_the_workers_role_comes_back_with_every_privilege(stack: Sluice, book: Ledger) -> None:
    tenants = [await stack.tenant("roleless"), await stack.tenant("roleless")]
    admin = stack.stack.rights.client.admin
    await admin.command("dropRole", WORKER_ROLE)
    await stack.stack.keeper.once()
    assert {one.id for one in tenants} <= await stack.stack.rights.provisioner.access.privileged()
    await book.send_lines(tenants[0], 2)
    await book.check(within=IN_TIME)


async def test_a_lost_index_and_another_retention_are_mended(stack: Sluice) -> None:
    tenant = await stack.tenant("indexless", retention={"days": 3})
    logs = stack.logs(tenant)
    before = await logs.index_information()

    await logs.drop_indexes()
    await rounds(stack)
    assert await logs.index_information() == before
    change = {"name": "retention", "expireAfterSeconds": 60}
    await stack.database(tenant).command("collMod", LOGS_COLLECTION, index=change)
    await rounds(stack)
    assert await logs.index_information() == before


# -- and what must not come back -------------------------------------------------------------------------------------


async def test_nothing_of_a_deleted_tenant_comes_back(stack: Sluice, book: Ledger) -> None:
    tenant = await stack.tenant("erased", lane="Dedicated", deletionPolicy="Delete")
    await accepts(book, tenant)
    await stack.stack.rights.deletion.delete(tenant.id)
    await rounds(stack)
    assert await config_of(stack, f"STREAM.INFO.{lane_stream(tenant.lane)}") is None
    assert tenant.id not in await stack.stack.rights.provisioner.access.privileged()
    assert tenant_database(tenant.id) not in await stack.stack.rights.client.list_database_names()


async def test_a_round_that_finds_nothing_says_and_changes_nothing(stack: Sluice) -> None:
    await stack.tenant("fine", lane="Dedicated")
    await stack.stack.rights.repair.run()
    before = await stack.broker.api(f"STREAM.INFO.{TENANTS_STREAM}")
    said: list[Mended] = []
    await stack.stack.rights.repair.run(said.append)
    assert said == []
    assert (await stack.broker.api(f"STREAM.INFO.{TENANTS_STREAM}"))["state"] == before["state"]
