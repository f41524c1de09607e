"""Tenants come, change and go: level-triggered, owned, and nothing of one provisioning reaches another."""

import asyncio
from typing import Any

import msgspec
import pymongo
import pytest
from pymongo.errors import OperationFailure

from sluice_core.edge.heartbeats import beat
from sluice_core.edge.lanes import last_sequence
from sluice_core.edge.letters import write_letter
from sluice_core.edge.registry import Claim
from sluice_core.envelope import Record, Submission, encode_envelope, encode_submission
from sluice_core.errors import ProvisionError, TenantConflict, TenantNotFound
from sluice_core.heartbeat import LIVE_SECONDS, IngestHeartbeat
from sluice_core.keys import generate_key
from sluice_core.letter import enclose, pick_out
from sluice_core.names import (
    STANDARD_LANE,
    TENANTS_STREAM,
    WORKERS,
    dead_letter_subject,
    ingest_heartbeat_subject,
    lane_stream,
    parked_subject,
)
from sluice_core.reasons import BUFFERED
from sluice_core.version import Version
from support.behind import publish, read_message
from support.ledger import Ledger
from support.sluice import TEXT, Account, Document, Sluice, line, manifest, unique_id
from support.waiting import eventually

SOON = 2.0
"""Seconds after which a change must have reached ingest."""


async def state(sluice: Sluice, tenant_id: str) -> dict[str, Any]:
    """Everything that provisioning a tenant leaves behind."""
    rights = sluice.stack.rights
    admin = rights.client.admin
    claim = await rights.provisioner.find(tenant_id)
    assert claim.config is not None
    info = await sluice.broker.api(f"STREAM.INFO.{TENANTS_STREAM}")
    stream = await sluice.broker.api(f"STREAM.INFO.{lane_stream(claim.config.lane)}")
    return {
        "bucket": info["state"]["last_seq"],
        "registry": await rights.client.sluice.tenants.find_one({"_id": tenant_id}),
        "secret": await rights.secrets.read(tenant_id),
        "users": (await rights.client[f"tenant_{tenant_id}"].command("usersInfo", 1))["users"],
        "role": (await admin.command("rolesInfo", "sluice_worker", showPrivileges=True))["roles"],
        "indexes": await sluice.logs(tenant_id).index_information(),
        "stream": stream["config"],
    }


async def status(sluice: Sluice, key: str) -> int:
    """What a request with this key is answered; it stores one document `probe` at most."""
    return (await sluice.send(key, {"log_id": "probe", "text": line()})).status_code


async def becomes(sluice: Sluice, key: str, wanted: int) -> None:
    async def there() -> bool:
        return await status(sluice, key) == wanted

    await eventually(there, within=SOON)


# -- apply -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lane", ["Standard", "Dedicated"])
async def test_applying_a_manifest_again_changes_nothing(sluice: Sluice, lane: str) -> None:
    spec: dict[str, Any] = {
        "lane": lane,
        "limits": {"maxRecordBytes": 1000},
        "retention": {"days": 9},
        "redaction": {"detectors": {"ipv4": "Keep", "email": "Replace"}},
        "keys": [{"name": "one"}, {"name": "two"}],
    }
    tenant = await sluice.tenant("twice", **spec)
    await sluice.stack.keeper.once()
    before = await state(sluice, tenant.id)
    again = await sluice.tenant(tenant.id, exactly=True, **spec)
    assert await state(sluice, tenant.id) == before
    assert again == tenant
    await sluice.stack.keeper.once()
    assert await state(sluice, tenant.id) == before


async def test_a_new_tenant_can_send_at_once(sluice: Sluice) -> None:
    """An unknown key costs one look, not a refusal."""
    for _ in range(5):
        tenant = await sluice.tenant("fresh")
        assert await status(sluice, tenant.key) == 202


async def test_everybodys_tenant_has_its_own_everything(sluice: Sluice, tenant: Account, other: Account) -> None:
    assert tenant.config.uid != other.config.uid
    assert tenant.key != other.key
    assert tenant.secret.reader_password != other.secret.reader_password
    assert {tenant.id, other.id} <= set(await sluice.databases())


async def test_an_id_that_is_somebody_elses_is_a_conflict_and_nothing_is_made(sluice: Sluice, tenant: Account) -> None:
    await sluice.stack.keeper.once()  # it still had to count the tenant in the seal
    before = await state(sluice, tenant.id)
    streams = (await sluice.broker.api("STREAM.NAMES"))["streams"]
    for stranger in (
        manifest(tenant.id, namespace="elsewhere"),
        manifest(unique_id("alias"), tenantId=tenant.id),
        manifest(tenant.id, namespace="elsewhere", lane="Dedicated", keys=[{"name": "mine"}]),
    ):
        with pytest.raises(TenantConflict) as caught:
            await sluice.apply(stranger)
        assert "tests" not in str(caught.value), "it names the owner's namespace"
    assert await state(sluice, tenant.id) == before
    assert (await sluice.broker.api("STREAM.NAMES"))["streams"] == streams
    assert await status(sluice, tenant.key) == 202


async def test_of_many_who_claim_an_id_at_once_one_gets_it(sluice: Sluice) -> None:
    tenant_id = unique_id("race")
    claims = [
        sluice.stack.rights.provisioner.apply(manifest(tenant_id, namespace=f"team-{number}")) for number in range(5)
    ]
    results = await asyncio.gather(*claims, return_exceptions=True)
    winners = [result for result in results if isinstance(result, Claim)]
    assert len(winners) == 1
    assert all(isinstance(result, Claim | TenantConflict) for result in results), results
    registered = await sluice.stack.rights.provisioner.find(tenant_id)
    assert registered.owner == winners[0].owner


# -- keys ------------------------------------------------------------------------------------------------------------


async def test_a_key_that_is_added_works_and_one_that_is_removed_stops(sluice: Sluice, tenant: Account) -> None:
    provisioner, secrets = sluice.stack.rights.provisioner, sluice.stack.rights.secrets
    assert await status(sluice, tenant.key) == 202
    await provisioner.set_keys(tenant.id, ["default", "second"])
    secret = await secrets.read(tenant.id)
    assert secret is not None
    assert secret.keys["default"] == tenant.key
    await becomes(sluice, secret.keys["second"], 202)
    await provisioner.set_keys(tenant.id, ["second"])
    await becomes(sluice, tenant.key, 401)
    assert await status(sluice, secret.keys["second"]) == 202
    # Its name, used again, is another key.
    await provisioner.set_keys(tenant.id, ["default", "second"])
    renewed = await secrets.read(tenant.id)
    assert renewed is not None
    assert renewed.keys["default"] != tenant.key
    await becomes(sluice, renewed.keys["default"], 202)
    assert await status(sluice, tenant.key) == 401


async def test_a_key_in_the_secret_that_nobody_issued_is_not_believed(sluice: Sluice, tenant: Account) -> None:
    forged = generate_key()
    secrets = sluice.stack.rights.secrets
    await secrets.write(tenant.id, msgspec.structs.replace(tenant.secret, keys={"default": forged}))
    again = await sluice.tenant(tenant.id, exactly=True)
    assert again.key not in {forged, tenant.key}
    assert await status(sluice, forged) == 401
    await becomes(sluice, again.key, 202)


async def test_a_lost_secret_is_issued_anew(sluice: Sluice, tenant: Account) -> None:
    await sluice.stack.rights.secrets.delete(tenant.id)
    again = await sluice.tenant(tenant.id, exactly=True)
    assert again.key != tenant.key
    await becomes(sluice, again.key, 202)
    await becomes(sluice, tenant.key, 401)
    client: pymongo.AsyncMongoClient[Document]
    async with pymongo.AsyncMongoClient(again.secret.mongodb_uri) as client:
        await client.get_default_database().processed_logs.find_one()
    async with pymongo.AsyncMongoClient(tenant.secret.mongodb_uri) as client:
        with pytest.raises(OperationFailure, match="Authentication failed"):
            await client.get_default_database().processed_logs.find_one()


async def test_keys_of_a_tenant_that_is_none_cannot_be_set(sluice: Sluice) -> None:
    with pytest.raises(TenantNotFound):
        await sluice.stack.rights.provisioner.set_keys(unique_id("nobody"), ["default"])


# -- deletion --------------------------------------------------------------------------------------------------------


async def delete(sluice: Sluice, tenant: Account) -> Claim:
    return await sluice.stack.rights.deletion.delete(tenant.id)


async def test_a_retained_database_is_kept_and_goes_back_to_its_owner(
    sluice: Sluice, ledger: Ledger, tenant: Account
) -> None:
    await ledger.send_lines(tenant, 3)
    deleting = asyncio.create_task(delete(sluice, tenant))
    # While it is going its key is known and refused; what was accepted before is stored.
    seen: set[int] = set()
    while not deleting.done():
        answer = await sluice.send(tenant, {"text": (text := line())})
        ledger.read(answer, [ledger.note(tenant, None, text)])
        if answer.status_code == 403:
            assert answer.json()["code"] == "tenant_gone"
        seen.add(answer.status_code)
        await asyncio.sleep(0.05)
    claim = await deleting
    assert claim.state == "Retained"
    assert 403 in seen
    assert seen <= {202, 403, 401}
    await ledger.check()
    async with sluice.nothing_published():
        assert await status(sluice, tenant.key) in {401, 403}
    # Nobody reads it, nobody writes it, nobody else gets it.
    client: pymongo.AsyncMongoClient[Document]
    async with pymongo.AsyncMongoClient(tenant.secret.mongodb_uri) as client:
        with pytest.raises(OperationFailure, match="Authentication failed"):
            await client.get_default_database().processed_logs.find_one()
    assert f"tenant_{tenant.id}" not in repr(
        await sluice.stack.rights.client.admin.command("rolesInfo", "sluice_worker", showPrivileges=True)
    )
    with pytest.raises(TenantConflict):
        await sluice.apply(manifest(tenant.id, namespace="elsewhere"))
    with pytest.raises(ProvisionError):
        await delete(sluice, tenant)
    again = await sluice.tenant(tenant.id, exactly=True)
    assert again.config.uid == tenant.config.uid
    assert again.config.revision > tenant.config.revision
    assert again.key != tenant.key
    await becomes(sluice, again.key, 202)
    assert await status(sluice, tenant.key) == 401
    stored = {document["_id"] for document in await sluice.documents(again)}
    assert {entry.log_id for entry in ledger.accepted if entry.log_id is not None} | {"probe"} <= stored


async def test_an_erased_tenant_leaves_nothing_and_its_successor_inherits_nothing(
    sluice: Sluice, ledger: Ledger
) -> None:
    tenant = await sluice.tenant("erased", deletionPolicy="Delete")
    neighbour = await sluice.tenant("neighbour")
    text = line()
    await sluice.send(tenant, {"log_id": "x", "text": text})
    await ledger.send_lines(neighbour, 1)
    [before] = await sluice.documents(tenant)
    claim = await delete(sluice, tenant)
    assert claim.state == "Erased"
    assert claim.erased == {"documents": 1, "parked": 0, "dead_letters": 0}
    assert tenant.id not in await sluice.databases()
    assert await sluice.stack.rights.secrets.read(tenant.id) is None
    users = await sluice.stack.rights.client[f"tenant_{tenant.id}"].command("usersInfo", 1)
    assert users["users"] == []
    assert await status(sluice, tenant.key) in {401, 403}
    # Anybody may have the id now; as another provisioning, with another key, under other hashes.
    successor = await sluice.apply(manifest(tenant.id, namespace="elsewhere"))
    assert successor.config.uid != tenant.config.uid
    assert successor.config.revision > tenant.config.revision
    assert await sluice.documents(successor) == []
    assert await status(sluice, tenant.key) == 401
    await sluice.send(successor, {"log_id": "x", "text": text})
    [after] = await sluice.documents(successor)
    assert after["content_hash"] != before["content_hash"]
    await ledger.check()


async def test_what_is_late_for_an_older_provisioning_is_discarded_and_counted(sluice: Sluice, ledger: Ledger) -> None:
    tenant = await sluice.tenant("idle-late", exactly=True, lane="Dedicated")
    await sluice.send(tenant, [{"text": line()} for _ in range(3)])
    late = await read_message(sluice, tenant.lane, 1)
    mate = await sluice.tenant("mate")
    elsewhere = await sluice.tenant("elsewhere")
    before = await sluice.settled(None, "tenant_unknown")
    # The same records as of a tenant that was made anew: the id is right, the uid is not.
    strangers = [Record(f"late-{number}", line()) for number in range(3)]
    for tenant_id, uid in ((mate.id, "0123456789abcdef"), (mate.id, elsewhere.config.uid), ("never-was", "x")):
        submission = Submission(tenant_id, uid, "r", "json_upload", 1, bytes(16), 0, strangers)
        await publish(sluice, STANDARD_LANE, encode_envelope([encode_submission(submission)]))
    entries = await ledger.send_lines(mate, 2)
    await ledger.check()
    assert await sluice.settled(None, "tenant_unknown") == before + 9
    assert len(await sluice.documents(mate)) == len(entries)
    assert "never-was" not in await sluice.databases()
    # In a stranger's lane it is still its own tenant's, by its uid.
    await publish(sluice, STANDARD_LANE, late)
    assert len(await sluice.documents(tenant.id)) == 3


async def test_with_delete_what_is_still_on_its_way_is_discarded(sluice: Sluice, ledger: Ledger) -> None:
    tenant = await sluice.tenant("going", deletionPolicy="Delete", lane="Dedicated")
    for _ in range(20):
        await sluice.send(tenant, line(), TEXT)
    streams = await sluice.broker.api("STREAM.NAMES")
    assert lane_stream(tenant.lane) in streams["streams"]
    assert (await delete(sluice, tenant)).state == "Erased"
    assert lane_stream(tenant.lane) not in (await sluice.broker.api("STREAM.NAMES"))["streams"]
    await asyncio.sleep(0.2)
    assert tenant.id not in await sluice.databases()


def late_envelope(tenant: Account) -> bytes:
    """What an ingest that never heard of the deletion would publish."""
    records = [Record("late", line())]
    submission = Submission(tenant.id, tenant.config.uid, "r", "json_upload", 1, bytes(16), 0, records)
    return encode_envelope([encode_submission(submission)])


async def set_aside(sluice: Sluice, tenant: Account) -> None:
    """A parked letter and a dead one, by hand."""
    submission = Submission(tenant.id, tenant.config.uid, "r", "json_upload", 1, bytes(16), 0, [Record("x", line())])
    letter, payload = enclose([pick_out(submission, [0], [Version(1, 1, 0)])], BUFFERED)
    for subject in (parked_subject(tenant.id), dead_letter_subject(tenant.id)):
        await write_letter(sluice.broker, subject, letter, payload)


async def letters(sluice: Sluice, tenant: Account) -> tuple[int, int]:
    """How many are parked, and how many are dead."""
    return len(await sluice.parked(tenant)), len(await sluice.dead_letters(tenant.id))


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_what_comes_after_a_deletion_ends_nowhere(sluice: Sluice, policy: str) -> None:
    tenant = await sluice.tenant("late", deletionPolicy=policy)
    assert await status(sluice, tenant.key) == 202
    await sluice.idle()
    await delete(sluice, tenant)
    stored = await sluice.logs(tenant).count_documents({})
    assert stored == (1 if policy == "Retain" else 0)
    before = await sluice.settled(None, "tenant_unknown")
    await publish(sluice, STANDARD_LANE, late_envelope(tenant))
    await sluice.idle()
    assert await sluice.settled(None, "tenant_unknown") == before + 1
    assert await sluice.logs(tenant).count_documents({}) == stored
    assert (tenant.id in await sluice.databases()) == (policy == "Retain")
    assert await letters(sluice, tenant) == (0, 0)


async def test_what_comes_late_for_an_erased_tenant_does_not_reach_its_successor(sluice: Sluice) -> None:
    tenant = await sluice.tenant("late", deletionPolicy="Delete")
    await delete(sluice, tenant)
    successor = await sluice.tenant(tenant.id, exactly=True)
    await publish(sluice, STANDARD_LANE, late_envelope(tenant))
    await sluice.idle()
    assert await sluice.documents(successor) == []
    assert await letters(sluice, successor) == (0, 0)
    assert await status(sluice, successor.key) == 202
    assert [document["_id"] for document in await sluice.documents(successor)] == ["probe"]


async def test_with_delete_what_was_set_aside_goes_too_and_all_of_it_is_counted(sluice: Sluice) -> None:
    tenant = await sluice.tenant("aside", deletionPolicy="Delete")
    neighbour = await sluice.tenant("neighbour", suspension="Buffer")
    assert await status(sluice, tenant.key) == 202
    await sluice.idle()
    tenant = await sluice.tenant(tenant.id, exactly=True, deletionPolicy="Delete", suspension="Buffer")
    await asyncio.sleep(SOON)  # until then ingest may take what is parked for what can go back
    for one in (tenant, neighbour):
        await set_aside(sluice, one)
    assert (await delete(sluice, tenant)).erased == {"documents": 1, "parked": 1, "dead_letters": 1}
    assert await letters(sluice, tenant) == (0, 0)
    assert await letters(sluice, neighbour) == (1, 1)
    successor = await sluice.tenant(tenant.id, exactly=True)
    assert successor.claim.erased == {}
    assert await letters(sluice, successor) == (0, 0)


async def test_with_retain_what_was_set_aside_stays(sluice: Sluice) -> None:
    tenant = await sluice.tenant("aside", suspension="Buffer")
    await asyncio.sleep(SOON)
    await set_aside(sluice, tenant)
    assert (await delete(sluice, tenant)).erased == {}
    assert await letters(sluice, tenant) == (1, 1)


async def test_a_deletion_waits_for_who_has_not_heard_of_it(sluice: Sluice) -> None:
    """A live process that has not read the tombstone may still accept for the tenant; a silent one is gone."""
    tenant = await sluice.tenant("unheard", deletionPolicy="Delete")
    heartbeat = IngestHeartbeat(instance="slow", number=1, seen=0)
    beating = asyncio.create_task(beat(sluice.broker, ingest_heartbeat_subject("slow"), lambda: heartbeat))
    deleting = asyncio.create_task(delete(sluice, tenant))
    await asyncio.sleep(2 * LIVE_SECONDS)
    assert not deleting.done()
    assert (await sluice.stack.rights.provisioner.registry.get(tenant.id) or tenant.claim).state == "Deleting"
    beating.cancel()
    assert (await deleting).state == "Erased"


async def test_a_deletion_needs_no_acknowledgement_that_a_killed_broker_forgot(sluice: Sluice) -> None:
    """Killed just after the last acknowledgement it knows that the message is gone, and no longer that it was finished.

    Only the next acknowledgement would tell it, and nothing comes any more.
    """
    tenant = await sluice.tenant("idle-floor", exactly=True, lane="Dedicated")
    assert await status(sluice, tenant.key) == 202
    await sluice.broker.api(f"STREAM.MSG.DELETE.{lane_stream(tenant.lane)}", {"seq": 1})
    consumer = await sluice.broker.api(f"CONSUMER.INFO.{lane_stream(tenant.lane)}.{WORKERS}")
    assert (consumer["ack_floor"]["stream_seq"], await last_sequence(sluice.broker, tenant.lane)) == (0, 1)
    claim = await sluice.stack.rights.deletion.delete(tenant.id, timeout=10)
    assert claim.state == "Retained"


async def test_a_deletion_that_was_interrupted_goes_on_where_it_was(sluice: Sluice) -> None:
    """Between the registry and the bucket: nobody has heard of it yet, though the registry says so."""
    tenant = await sluice.tenant("interrupted")
    registry = sluice.stack.rights.provisioner.registry
    async with sluice.stack.keeper.still():
        tombstone = msgspec.structs.replace(tenant.config, state="gone", revision=tenant.claim.revision + 1)
        claim = await registry.record(tenant.claim, state="Deleting")
        await registry.record(claim, config=tombstone, revision=tombstone.revision)
        assert await status(sluice, tenant.key) == 202
        assert (await delete(sluice, tenant)).state == "Retained"
    async with sluice.nothing_published():
        assert await status(sluice, tenant.key) in {401, 403}
    assert {document["_id"] for document in await sluice.documents(tenant)} == {"probe"}
