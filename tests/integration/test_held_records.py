"""SLUICE_SIMULATED_SECONDS_PER_CHAR: records that take their time are held side by side, and none is lost.

The stack runs with `auth: none`, so this is also how that behaves. Its one long record was sent when the session began.
"""

import asyncio
import json
import signal
import time
from collections.abc import Mapping

from sluice_core.names import WORKERS, lane_stream
from sluice_core.reasons import PROVISIONING_FAILED
from support.held import LONG_CHARACTERS, SECONDS_PER_CHARACTER, SlowLane
from support.sluice import JSON, TEXT, Document, Sluice, line, unique_id

CLOCKS = 0.05
"""Seconds by which two clocks may differ."""
SLACK = 10.0
"""Seconds a busy machine may add."""


def text_of(characters: int) -> str:
    return line().ljust(characters, ".")[:characters]


def held(document: Document) -> float:
    return float((document["processed_at"] - document["received_at"]).total_seconds())


async def send(sluice: Sluice, tenant_id: str, sizes: Mapping[str, int]) -> None:
    records = [{"log_id": name, "text": text_of(size)} for name, size in sizes.items()]
    answer = await sluice.send(None, records, headers={"X-Tenant-ID": tenant_id})
    assert (answer.status_code, answer.json()["accepted"]) == (202, len(sizes))


async def test_each_record_is_held_for_its_own_length_side_by_side(slow: SlowLane) -> None:
    begun = time.monotonic()
    tenant_id = unique_id("held")
    sizes = {"s20": 20, "s60": 60, **{f"l{number:02}": 100 for number in range(30)}, "none": 1}
    await send(slow.sluice, tenant_id, sizes)
    await asyncio.sleep(0.8)
    assert {document["_id"] async for document in slow.sluice.logs(tenant_id).find()} <= {"none"}
    documents = {document["_id"]: document for document in await slow.sluice.documents(tenant_id)}
    assert documents.keys() == sizes.keys()
    for name, size in sizes.items():
        own = size * SECONDS_PER_CHARACTER - CLOCKS
        assert own <= held(documents[name]) < own + SLACK
        assert own <= documents[name]["processing_time"]
    assert held(documents["none"]) < held(documents["s20"]) < held(documents["s60"]) < held(documents["l00"])
    # One after the other they would have taken more than 150 s.
    assert time.monotonic() - begun < 5 + 3 * SLACK


async def test_a_worker_that_stops_gives_back_what_it_holds(slow: SlowLane) -> None:
    sluice = slow.sluice
    tenant_id = unique_id("given-back")
    sizes = {f"r{number}": 30 + number for number in range(5)}
    await send(sluice, tenant_id, {"short": 1, **sizes})
    await asyncio.sleep(0.7)
    process = sluice.servers["worker-standard"].process
    asked = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 20) == 0
    assert time.monotonic() - asked < SLACK, "it waited for what it holds rather than give it back"
    await sluice.idle(within=25)  # well before the broker would have delivered again by itself
    documents = {document["_id"]: document for document in await sluice.documents(tenant_id)}
    assert documents.keys() == {"short", *sizes}
    # Held again from the beginning, by the next worker.
    assert all(held(documents[name]) > size * SECONDS_PER_CHARACTER + 0.6 for name, size in sizes.items())


async def test_without_keys_a_tenant_is_made_when_it_is_first_named(slow: SlowLane) -> None:
    sluice = slow.sluice
    for kind, header in ((JSON, None), (TEXT, None), (TEXT, "X-Tenant-ID"), (TEXT, "X-Scope-OrgID")):
        tenant_id = unique_id("first")
        named: dict[tuple[str, str | None], str] = {
            (JSON, None): json.dumps({"tenant_id": tenant_id, "text": "x"}),
            (TEXT, None): f"tenant_id: {tenant_id}\ndata: x",
        }
        content = named.get((kind, header), "x")
        answer = await sluice.send(None, content, kind, headers={header: tenant_id} if header else {})
        assert (answer.status_code, answer.json()["tenant_id"]) == (202, tenant_id)
        assert len(await sluice.documents(tenant_id)) == 1


async def test_a_tenant_that_the_database_lets_nobody_make_is_refused_at_once(slow: SlowLane) -> None:
    """Nobody would come back to say so: the request need not wait for an answer until its time is over."""
    sluice, tenant_id = slow.sluice, unique_id("hindered")
    await sluice.database(tenant_id).command("create", "processed_logs", viewOn="nothing", pipeline=[])
    answer = await sluice.send(None, {"tenant_id": tenant_id, "text": "x"})
    assert (answer.status_code, answer.json()["code"]) == (503, "provisioning_failed")
    assert answer.json()["detail"] == PROVISIONING_FAILED.sentence, "it was only not made in time"
    await sluice.logs(tenant_id).drop()
    assert (await sluice.send(None, {"tenant_id": tenant_id, "text": "x"})).status_code == 202


async def test_many_first_requests_at_once_make_one_tenant(slow: SlowLane) -> None:
    tenant_id = unique_id("at-once")
    headers = {"X-Tenant-ID": tenant_id}
    answers = await asyncio.gather(*(slow.sluice.send(None, "x", TEXT, headers=headers) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {202}
    assert len(await slow.sluice.documents(tenant_id)) == 20


async def test_without_keys_one_request_still_has_one_tenant(slow: SlowLane) -> None:
    sluice, ours = slow.sluice, unique_id("ours")
    await send(sluice, ours, {"x": 1})
    before = set(await sluice.databases())
    answer = await sluice.send(None, {"tenant_id": "theirs", "text": "x"}, headers={"X-Tenant-ID": ours})
    assert (answer.status_code, answer.json()["code"]) == (403, "other_tenant")
    for bad in ("../etc", "UPPER", "a b", "", "x" * 41):
        answer = await sluice.send(None, {"tenant_id": bad, "text": "x"})
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_field")
    answer = await sluice.send(None, {"text": "x"})
    assert (answer.status_code, answer.json()["code"]) == (400, "missing_field")
    mixed = [{"tenant_id": ours, "text": "x"}, {"tenant_id": "theirs", "text": "x"}]
    answer = await sluice.send(None, mixed)
    assert [entry["code"] for entry in answer.json()["rejected"]] == ["other_tenant"]
    assert set(await sluice.databases()) == before
    assert len(await sluice.documents(ours)) == 2


async def test_a_record_held_longer_than_the_broker_waits_is_delivered_once(slow: SlowLane) -> None:
    """35 s, with signs of life meanwhile."""
    sluice, patient = slow.sluice, slow.patient
    left = LONG_CHARACTERS * SECONDS_PER_CHARACTER - (time.monotonic() - slow.sent_at)
    if left > 1:
        assert [document async for document in sluice.logs(patient).find()] == []
    await sluice.idle(patient.lane, within=max(left, 0) + 2 * SLACK)
    document = await sluice.document(patient)
    assert (document["_id"], document["char_count"]) == ("long", LONG_CHARACTERS)
    assert held(document) >= LONG_CHARACTERS * SECONDS_PER_CHARACTER - CLOCKS
    info = await sluice.broker.api(f"CONSUMER.INFO.{lane_stream(patient.lane)}.{WORKERS}")
    assert info["delivered"]["consumer_seq"] == 1, "it was delivered more than once"
    assert await sluice.metric(f"worker-{patient.lane}", "sluice_worker_redelivered_total") == 0
    assert await sluice.settled(patient, "stored") == 1
