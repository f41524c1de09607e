"""A Tenant goes: provably, in order, and nothing of it comes back."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import httpx
import pytest

from sluice_core.edge.access import Access
from sluice_core.edge.lanes import lane_exists
from sluice_core.edge.letters import count_letters, write_letter
from sluice_core.envelope import Record, Submission, encode_envelope, encode_submission
from sluice_core.letter import enclose, pick_out
from sluice_core.names import STANDARD_LANE, dead_letter_subject, lane_stream, parked_subject
from sluice_core.reasons import BUFFERED
from sluice_core.version import Version
from sluice_operator.kube.kinds import CONFIG_MAP, TENANT
from support.operating import Rig
from support.tenants import SOON
from support.waiting import eventually


class Shipper:
    """Somebody who posts, and notes what is answered."""

    def __init__(self, http: httpx.AsyncClient, key: str) -> None:
        self._http = http
        self._key = key
        self.answers: Counter[int] = Counter()

    async def post(self) -> int:
        headers = {"Authorization": f"Bearer {self._key}"}
        answer = await self._http.post("/ingest", headers=headers, json={"text": "hello"})
        self.answers[answer.status_code] += 1
        return answer.status_code

    async def until(self, status: int) -> None:
        """Keep posting until this is answered."""

        async def there() -> bool:
            return await self.post() == status

        await eventually(there, within=SOON, pause=0.05)

    async def while_running(self, work: "asyncio.Task[None]") -> None:
        """Keep posting until the work is done."""
        while not work.done():
            await self.post()
            await asyncio.sleep(0.02)
        await work


@pytest.fixture(scope="module")
async def http(running: Rig) -> AsyncIterator[httpx.AsyncClient]:
    """Ingest, with a worker on the shared lane behind it."""
    async with running.data_plane(STANDARD_LANE) as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        yield client


async def stored(rig: Rig, tenant_id: str) -> int:
    return int(await rig.client[f"tenant_{tenant_id}"].processed_logs.count_documents({}))


async def has_stored(rig: Rig, tenant_id: str, count: int) -> None:
    async def there() -> bool:
        return await stored(rig, tenant_id) == count

    await eventually(there, within=SOON, pause=0.1)


def submission(tenant_id: str, uid: str) -> Submission:
    return Submission(tenant_id, uid, "r", "json_upload", 1, bytes(16), 0, [Record("late", "a line")])


async def set_aside(rig: Rig, tenant_id: str, uid: str) -> None:
    """A parked letter and a dead one, by hand."""
    letter, payload = enclose([pick_out(submission(tenant_id, uid), [0], [Version(1, 1, 0)])], BUFFERED)
    for subject in (parked_subject(tenant_id), dead_letter_subject(tenant_id)):
        await write_letter(rig.broker, subject, letter, payload)


async def left(rig: Rig, tenant_id: str) -> list[str]:
    """Every place that still has something of the tenant."""
    letters = (parked_subject(tenant_id), dead_letter_subject(tenant_id))
    found = [subject for subject in letters if await count_letters(rig.broker, subject)]
    if f"tenant_{tenant_id}" in await rig.client.list_database_names():
        found.append("database")
    if (await rig.client[f"tenant_{tenant_id}"].command("usersInfo", 1))["users"]:
        found.append("user")
    if tenant_id in await Access(rig.client).privileged():
        found.append("privilege")
    if await lane_exists(rig.broker, f"t-{tenant_id}"):
        found.append("lane")
    if any(await rig.lane_objects(f"t-{tenant_id}")):
        found.append("lane objects")
    if await rig.secret(tenant_id):
        found.append("secret")
    return found


async def test_a_tenant_is_erased_while_its_shippers_go_on(running: Rig, http: httpx.AsyncClient) -> None:
    name = await running.tenant("erased", deletionPolicy="Delete", erasureReceipt=True)
    other = await running.tenant("neighbour")
    shipper, neighbour = Shipper(http, await running.key(name)), Shipper(http, await running.key(other))
    await shipper.until(202)
    await neighbour.until(202)
    await has_stored(running, name, 1)
    before = await running.claim(name)
    await set_aside(running, name, before.uid)

    removing = asyncio.create_task(running.delete(name))
    await asyncio.gather(shipper.while_running(removing), neighbour.while_running(removing))
    assert set(shipper.answers) <= {202, 403, 401}
    assert shipper.answers[403] > 0
    assert await shipper.post() == 401
    assert set(neighbour.answers) == {202}

    claim = await running.claim(name)
    assert claim.state == "Erased"
    assert claim.ended_at is not None
    # What it had accepted by then is in the count, or was discarded by the worker; either way it is gone.
    assert claim.erased["documents"] >= 1
    assert (claim.erased["parked"], claim.erased["dead_letters"]) == (1, 1)
    assert await left(running, name) == []
    message = await running.has_event(name, "Erased")
    assert f"Before: documents {claim.erased['documents']}, parked 1, dead letters 1. After: none." in message
    receipt = await running.kube.get(CONFIG_MAP, running.namespace, f"{name}-sluice-erasure")
    assert receipt is not None
    assert receipt["data"]["documentsBefore"] == str(claim.erased["documents"])
    assert (
        receipt["data"]["documentsAfter"]
        == receipt["data"]["parkedAfter"]
        == receipt["data"]["dead_lettersAfter"]
        == "0"
    )

    # What an ingest publishes that never heard of it is stored nowhere, and the timers make nothing of it again.
    late = encode_envelope([encode_submission(submission(name, before.uid))])
    await running.broker.publish(f"logs.{STANDARD_LANE}", late, stream=lane_stream(STANDARD_LANE), timeout=5)
    await neighbour.post()
    await has_stored(running, other, neighbour.answers[202])
    await running.more_looks(3)
    assert await left(running, name) == []

    # Its name, applied again, is another tenant: nothing is inherited.
    await running.apply(name)
    await running.becomes(name)
    again = await running.claim(name)
    assert again.uid != before.uid
    assert await stored(running, name) == 0
    assert await shipper.post() == 401


async def test_a_retained_database_goes_back_to_its_owner_and_to_nobody_else(
    running: Rig, http: httpx.AsyncClient
) -> None:
    name = await running.tenant("retained")
    key = await running.key(name)
    shipper = Shipper(http, key)
    await shipper.until(202)
    await has_stored(running, name, 1)
    await running.delete(name)
    assert (await running.claim(name)).state == "Retained"
    assert f"Database tenant_{name} is kept." in await running.has_event(name, "Retained")
    assert await left(running, name) == ["database"]
    assert await shipper.post() == 401

    await running.apply(name, namespace="team-b")
    said = await running.becomes(name, "False", "TenantIdRetained", namespace="team-b")
    assert running.namespace not in said["message"]
    assert await running.secret(name, "team-b") is None
    assert (await running.claim(name)).state == "Retained"
    await running.delete(name, "team-b")
    assert (await running.claim(name)).state == "Retained"

    await running.apply(name)
    await running.becomes(name)
    assert await stored(running, name) == 1
    assert await running.key(name) != key
    await Shipper(http, await running.key(name)).until(202)
    assert await shipper.post() == 401


async def test_a_released_id_goes_to_whoever_claims_it_next(running: Rig) -> None:
    name = await running.tenant("released")
    code, said = await running.part.command("release", name)
    assert code == 1, "it is not retained but lives"
    assert "there is nothing to release" in said
    await running.delete(name)
    code, said = await running.part.command("release", name)
    assert (code, said.split(":")[0]) == (0, f"tenant id {name} is released")
    await running.apply(name, namespace="team-b")
    await running.becomes(name, namespace="team-b")
    assert (await running.claim(name)).owner.namespace == "team-b"
    await running.delete(name, "team-b")


async def test_a_strangers_tenant_with_a_living_id_gets_nothing_and_takes_nothing_with_it(running: Rig) -> None:
    name = await running.tenant("taken", lane="Dedicated")
    before = await running.settled()
    stranger = running.unique("stranger")
    await running.apply(stranger, namespace="team-b", tenantId=name, lane="Dedicated", deletionPolicy="Delete")
    said = await running.becomes(stranger, "False", "TenantIdConflict", namespace="team-b")
    assert running.namespace not in said["message"]
    assert await running.secret(stranger, "team-b") is None
    await running.delete(stranger, "team-b")
    after = await running.written()
    assert after["mongodb"] == before["mongodb"]
    assert after["nats"] == before["nats"]
    assert (await running.condition(name))["status"] == "True"


async def test_the_id_is_free_for_the_loser_once_its_owner_is_erased(running: Rig) -> None:
    name = await running.tenant("handed-on", deletionPolicy="Delete")
    await running.apply(name, namespace="team-b")
    await running.becomes(name, "False", "TenantIdConflict", namespace="team-b")
    await running.delete(name)
    await running.becomes(name, namespace="team-b")
    assert (await running.claim(name)).owner.namespace == "team-b"


async def test_a_dedicated_lane_goes_with_its_tenant_and_is_drained_first(
    running: Rig, http: httpx.AsyncClient
) -> None:
    name = await running.tenant("own", lane="Dedicated")
    lane = f"t-{name}"
    shipper = Shipper(http, await running.key(name))
    await shipper.until(202)
    await shipper.post()
    removing = asyncio.create_task(running.delete(name))
    said = await running.becomes(name, "False", "Deleting")
    assert f"lane {lane} did not finish in time" in said["message"]
    assert all(await running.lane_objects(lane)), "its workers went before they were done"
    async with running.data_plane(lane):
        await removing
    assert await left(running, name) == ["database"]
    assert await stored(running, name) == shipper.answers[202]


async def test_a_dedicated_lane_of_an_erased_tenant_needs_no_workers(running: Rig, http: httpx.AsyncClient) -> None:
    name = await running.tenant("own-erased", lane="Dedicated", deletionPolicy="Delete")
    shipper = Shipper(http, await running.key(name))
    await shipper.until(202)
    await running.delete(name)
    assert await left(running, name) == []


async def test_a_tenant_that_was_never_provisioned_goes_at_once(running: Rig) -> None:
    """Also one whose policy was never valid."""
    name = running.unique("never")
    tests = [{"input": "mail a@b.example", "expect": "never this"}]
    await running.apply(name, redaction={"tests": tests}, deletionPolicy="Delete")
    await running.becomes(name, "False", "PolicyTestFailed")
    await running.delete(name)
    assert await left(running, name) == []


async def test_an_object_removed_by_force_leaves_a_claim_that_its_successor_adopts(running: Rig) -> None:
    name = await running.tenant("forced")
    before = await running.claim(name)
    async with running.without_operator():
        await running.kube.delete(TENANT, running.namespace, name)
        await running.kube.call(
            "PATCH",
            TENANT.path(running.namespace, name),
            {"metadata": {"finalizers": None}},
            content_type="application/merge-patch+json",
        )
        await running.gone(name)
        await running.apply(name)
    await running.becomes(name)
    after = await running.claim(name)
    assert after.uid == before.uid
    assert after.owner.uid != before.owner.uid


async def test_a_tenant_waits_for_one_that_was_removed_by_force_while_it_was_going(running: Rig) -> None:
    """Nobody would go on with that deletion, were it not swept."""
    name = await running.tenant("half-gone", deletionPolicy="Delete")
    async with running.without_operator():
        claim = await running.claim(name)
        await running.registry.record(claim, state="Deleting")
        await running.kube.delete(TENANT, running.namespace, name)
        await running.kube.call(
            "PATCH",
            TENANT.path(running.namespace, name),
            {"metadata": {"finalizers": None}},
            content_type="application/merge-patch+json",
        )
        await running.gone(name)
    await running.apply(name)
    await running.becomes(name, within=2 * SOON)
    assert (await running.claim(name)).uid == claim.uid, "it never drops a database"


async def test_what_was_removed_by_force_is_swept_and_its_database_kept(running: Rig) -> None:
    name = await running.tenant("swept", deletionPolicy="Delete", lane="Dedicated")
    async with running.without_operator():
        await running.kube.delete(TENANT, running.namespace, name)
        await running.kube.call(
            "PATCH",
            TENANT.path(running.namespace, name),
            {"metadata": {"finalizers": None}},
            content_type="application/merge-patch+json",
        )
        await running.gone(name)

    async def retired() -> bool:
        return (await running.claim(name)).state == "Retained"

    await eventually(retired, within=2 * SOON, pause=0.2)
    assert await left(running, name) == ["database"]


async def test_a_namespace_that_went_while_the_operator_was_away_ends_cleanly(running: Rig) -> None:
    namespace, name = "team-c", running.unique("with-namespace")
    await running.apply(name, namespace=namespace, deletionPolicy="Delete", erasureReceipt=True, lane="Dedicated")
    await running.becomes(name, namespace=namespace)
    async with running.without_operator():
        await running.cluster.kubectl("delete", "namespace", namespace, "--wait=false")
        await asyncio.sleep(1)
        assert await running.get(name, namespace) is not None
    await running.cluster.kubectl("wait", "--for=delete", f"namespace/{namespace}", "--timeout=60s")
    claim = await running.claim(name)
    assert claim.state == "Erased"
    assert claim.erased == {"documents": 0, "parked": 0, "dead_letters": 0}
    assert await left(running, name) == []
