"""What was parked goes back into its lane by itself: once, in its old place, and only if it is still somebody's."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from sluice_core.edge.lanes import last_sequence
from sluice_core.edge.letters import list_letters, write_letter
from sluice_core.envelope import Record, Submission
from sluice_core.letter import enclose, pick_out
from sluice_core.names import LOGS_COLLECTION, parked_subject, tenant_database
from sluice_core.reasons import STORE_REFUSES
from sluice_core.version import Version
from support.behind import publish
from support.ledger import Ledger
from support.sluice import Account, Sluice, line, running
from support.waiting import eventually

IDLE_TENANT = "idle-returning"
IN_TIME = 30.0


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sluice]:
    """A stack of its own with two replicas of ingest."""
    async with running(tmp_path_factory.mktemp("returning"), lanes_without_worker=[f"t-{IDLE_TENANT}"]) as sluice:
        await sluice.stack.start_ingest()
        yield sluice


@pytest.fixture
def book(stack: Sluice) -> Ledger:
    return Ledger(stack)


async def park(
    stack: Sluice, tenant: Account, log_id: str, text: str, *, version: Version, uid: str | None = None
) -> bytes:
    """Park a record as a worker does; returns the letter's payload."""
    received = time.time_ns() // 1000
    uid = uid or tenant.config.uid
    submission = Submission(tenant.id, uid, "req", "json_upload", received, bytes(16), 0, [Record(log_id, text)])
    letter, payload = enclose([pick_out(submission, [0], [version])], STORE_REFUSES)
    await write_letter(stack.broker, parked_subject(tenant.id), letter, payload)
    return payload


async def returned(stack: Sluice, tenant: Account) -> float:
    """How many letters the replicas that run have put back."""
    names = [name for name in stack.stack.endpoints.metrics if name.startswith("ingest")]
    name = "sluice_ingest_returned_letters_total"
    return sum([await stack.metric(part, name, tenant=tenant.id) for part in names])


async def nothing_parked(stack: Sluice, tenant: Account) -> None:
    async def none() -> bool:
        return not await list_letters(stack.broker, parked_subject(tenant.id), limit=1)

    await eventually(none, within=IN_TIME)


async def test_letters_go_back_once_and_their_records_keep_their_versions(stack: Sluice, book: Ledger) -> None:
    tenant = await stack.tenant("parked")
    versions = {f"r{number}": Version(1_700_000_000_000_000_000 + number, 5, number) for number in range(40)}
    for log_id, version in versions.items():
        await park(stack, tenant, log_id, line(), version=version)
    await nothing_parked(stack, tenant)
    documents = await stack.documents(tenant)
    assert {document["_id"]: Version(**document["version"]) for document in documents} == versions
    assert await returned(stack, tenant) == 40, "one replica does it"


async def test_a_letter_that_is_in_the_lane_already_is_stored_once(stack: Sluice) -> None:
    """As after a crash between publishing and removing."""
    tenant = await stack.tenant("twice")
    payload = await park(stack, tenant, "x", (text := line()), version=Version(1, 2, 3))
    await publish(stack, tenant.lane, payload)
    await nothing_parked(stack, tenant)
    [document] = await stack.documents(tenant)
    assert (document["original_text"], Version(**document["version"])) == (text, Version(1, 2, 3))
    assert await stack.dead_letters(tenant) == []


async def test_letters_of_an_earlier_provisioning_are_thrown_away_and_counted(stack: Sluice) -> None:
    tenant = await stack.tenant("again")
    await park(stack, tenant, "old", line(), version=Version(1, 1, 0), uid="another uid")
    await park(stack, tenant, "new", line(), version=Version(1, 2, 0))
    await nothing_parked(stack, tenant)
    assert [document["_id"] for document in await stack.documents(tenant)] == ["new"]
    name = "sluice_ingest_discarded_records_total"
    discarded = [await stack.metric(part, name, tenant=tenant.id) for part in ("ingest", "ingest-2")]
    assert sum(discarded) == 1


async def test_letters_go_back_also_while_no_worker_runs(stack: Sluice) -> None:
    """It is what wakes the workers of a lane that was scaled to zero."""
    tenant = await stack.tenant(IDLE_TENANT, exactly=True, lane="Dedicated")
    before = await last_sequence(stack.broker, tenant.lane)
    await park(stack, tenant, "x", line(), version=Version(1, 1, 0))
    await nothing_parked(stack, tenant)
    assert await last_sequence(stack.broker, tenant.lane) == before + 1
    await stack.stack.start_worker(tenant.lane)
    assert [document["_id"] for document in await stack.documents(tenant)] == ["x"]


async def test_whichever_replica_dies_the_other_puts_letters_back(stack: Sluice) -> None:
    tenant = await stack.tenant("survivor")
    for number, replica in enumerate((stack.stack.ingest, *stack.stack.more_ingest)):
        async with stack.stack.without(replica):
            await park(stack, tenant, f"r{number}", line(), version=Version(1, number, 0))
            await nothing_parked(stack, tenant)
    assert [document["_id"] for document in await stack.documents(tenant)] == ["r0", "r1"]


async def test_a_refused_tenant_is_tried_now_and_then_and_all_come_back_in_the_end(stack: Sluice, book: Ledger) -> None:
    tenant, other = await stack.tenant("refused"), await stack.tenant("other")
    name = f"{tenant_database(tenant.id)}.{LOGS_COLLECTION}"
    admin = stack.stack.rights.client.admin
    async with stack.stack.keeper.still():
        await admin.command("renameCollection", name, to=f"{name}_moved")
        await stack.database(tenant).command("create", LOGS_COLLECTION, viewOn="nothing", pipeline=[])
        for _ in range(100):
            await book.send_lines(tenant, 1)

        async def parked() -> int:
            return len(await stack.parked(tenant))

        await eventually(parked, within=IN_TIME)
        await stack.idle()
        before = await returned(stack, tenant)
        await asyncio.sleep(10)
        await book.send_lines(other, 10)
        tried = await returned(stack, tenant) - before
        await stack.logs(tenant).drop()
        await admin.command("renameCollection", f"{name}_moved", to=name)
    assert 1 <= tried <= 20, "a letter after 1, 2, 4 and so on seconds"
    await book.check(within=90)
    assert await stack.logs(tenant).count_documents({}) == 100
    assert await stack.dead_letters(tenant) == []
