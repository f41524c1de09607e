"""The same record more than once, whatever the origin: one document each, and of two contents the newer one."""

import asyncio
from typing import Any

from sluice_core.edge.pull import Puller
from sluice_core.envelope import decode_envelope
from support.behind import publish, read_message
from support.ledger import Ledger
from support.sluice import TEXT, Account, Document, Sluice, line
from support.waiting import eventually


def without_version(document: Document) -> Document:
    return {name: value for name, value in document.items() if name != "version"}


async def test_a_retry_with_its_id_is_a_duplicate_and_raises_the_version(
    sluice: Sluice, ledger: Ledger, tenant: Account
) -> None:
    record = {"log_id": "retried", "text": line("from 10.0.0.1"), "attributes": {"a": {"b": [1]}}}
    await ledger.send(tenant, [record])
    first = await sluice.document(tenant)
    for _ in range(2):
        await ledger.send(tenant, [record])
    await ledger.check()
    last = await sluice.document(tenant)
    # Nothing but the version changed: it is the document of the first time.
    assert without_version(last) == without_version(first)
    assert last["version"]["sequence"] == await sluice.published()
    assert tuple(last["version"].values()) > tuple(first["version"].values())
    assert await sluice.settled(tenant, "stored") == 1
    assert await sluice.settled(tenant, "duplicate") == 2


async def test_of_two_contents_under_one_id_the_newer_one_is_kept(
    sluice: Sluice, ledger: Ledger, tenant: Account
) -> None:
    texts = [line() for _ in range(3)]
    for text in texts:
        await ledger.send(tenant, [{"log_id": "x", "text": text, "attributes": {"t": text}}])
        await sluice.idle()
    document = await sluice.document(tenant)
    assert (document["original_text"], document["attributes"]) == (texts[-1], {"t": texts[-1]})
    assert document["version"]["sequence"] == await sluice.published()
    assert await sluice.settled(tenant, "replaced") == 2
    await ledger.check()


async def test_content_is_more_than_the_text(sluice: Sluice, tenant: Account) -> None:
    text = line()
    newer: dict[str, Any]
    for newer in ({"attributes": {"n": 1}}, {"timestamp": "2024-01-01T00:00:00Z"}):
        for record in ({"log_id": "x", "text": text}, {"log_id": "x", "text": text, **newer}):
            await sluice.send(tenant, record)
            document = await sluice.document(tenant)
            assert document["attributes"] == record.get("attributes", {})
    assert await sluice.settled(tenant, "replaced") == 3


async def test_an_older_content_that_arrives_later_changes_nothing(sluice: Sluice, ledger: Ledger) -> None:
    """Delivered first, to somebody who gives it back only when the newer one is stored."""
    tenant = await sluice.tenant("idle-older", exactly=True, lane="Dedicated")
    await ledger.send(tenant, [{"log_id": "x", "text": line("older")}, {"log_id": "mate", "text": line()}])
    slow_worker = Puller(sluice.broker, tenant.lane)
    await slow_worker.start()
    older = await slow_worker.next(5.0, batch=1, max_bytes=1_000_000)
    assert older is not None
    await ledger.send(tenant, [{"log_id": "x", "text": (newer := line("newer"))}])
    await sluice.stack.start_worker(tenant.lane)

    async def stored() -> bool:
        return await sluice.logs(tenant).count_documents({"_id": "x"}) == 1

    await eventually(stored, within=20)
    await slow_worker.give_back(older)
    await slow_worker.stop()
    documents = await sluice.documents(tenant)
    assert [(document["_id"], document["original_text"] == newer) for document in documents] == [
        ("mate", False),
        ("x", True),
    ]
    assert await sluice.settled(tenant, "outdated") == 1
    await ledger.check()


async def test_one_id_twice_in_one_batch_is_one_document_the_later_one(
    sluice: Sluice, ledger: Ledger, tenant: Account
) -> None:
    first, last = line(), line()
    records = [
        {"log_id": "x", "text": first},
        {"log_id": "same", "text": first},
        {"log_id": "x", "text": last},
        {"log_id": "same", "text": first},
    ]
    answer, _ = await ledger.send(tenant, records)
    assert answer.json()["accepted"] == 4
    same, x = await sluice.documents(tenant)
    assert (same["original_text"], same["version"]["position"]) == (first, 3)
    assert (x["original_text"], x["version"]["position"]) == (last, 2)
    assert await sluice.settled(tenant, "duplicate") == 1
    assert await sluice.settled(tenant, "outdated") == 1
    await ledger.check()


async def test_one_id_in_many_messages_at_once_is_one_document(sluice: Sluice, ledger: Ledger) -> None:
    tenant = await sluice.tenant("idle-together", exactly=True, lane="Dedicated")
    texts = [line() for _ in range(10)]
    for text in texts:
        await ledger.send(tenant, [{"log_id": "x", "text": text}, {"log_id": f"own {text[-5:]}", "text": line()}])
    await sluice.stack.start_worker(tenant.lane)
    documents = {document["_id"]: document for document in await sluice.documents(tenant)}
    assert len(documents) == 11
    assert documents["x"]["original_text"] == texts[-1]
    await ledger.check()


async def test_senders_that_race_for_one_id_leave_one_document(sluice: Sluice, ledger: Ledger, tenant: Account) -> None:
    texts = [line() for _ in range(30)]
    await asyncio.gather(*(ledger.send(tenant, [{"log_id": "x", "text": text}]) for text in texts))
    document = await sluice.document(tenant)
    assert document["original_text"] in texts
    assert document["version"]["sequence"] == await sluice.published()
    await ledger.check()


async def test_an_envelope_delivered_twice_is_stored_once(sluice: Sluice, ledger: Ledger) -> None:
    tenant = await sluice.tenant("idle-again", exactly=True, lane="Dedicated")
    await ledger.send_lines(tenant, 20)
    await sluice.send(tenant, nameless := line(), TEXT)
    ledger.read(await sluice.send(tenant, again := line(), TEXT), [ledger.note(tenant, None, again)])
    ledger.read(await sluice.send(tenant, again, TEXT), [ledger.note(tenant, None, again)])
    ledger.note(tenant, None, nameless)
    messages = await sluice.published(tenant.lane)
    for sequence in range(1, messages + 1):
        envelope = await read_message(sluice, tenant.lane, sequence)
        assert decode_envelope(envelope).submissions[0].tenant_id == tenant.id
        await publish(sluice, tenant.lane, envelope)
    await sluice.stack.start_worker(tenant.lane)
    await ledger.check()
    documents = await sluice.documents(tenant)
    assert len(documents) == 23
    assert {document["version"]["sequence"] for document in documents} == set(range(messages + 1, 2 * messages + 1))
    assert await sluice.settled(tenant, "duplicate") == 23
    # And once more, now that all of it is stored.
    await publish(sluice, tenant.lane, envelope)
    await ledger.check()
    assert await sluice.settled(tenant, "duplicate") == 24


async def test_two_tenants_with_one_id_keep_both(
    sluice: Sluice, ledger: Ledger, tenant: Account, other: Account
) -> None:
    texts = {who.id: line() for who in (tenant, other)}
    for who in (tenant, other, tenant):
        await ledger.send(who, [{"log_id": "shared", "text": texts[who.id]}])
    for who in (tenant, other):
        document = await sluice.document(who)
        assert (document["_id"], document["original_text"]) == ("shared", texts[who.id])
        assert await sluice.settled(who, "stored") == 1
    await ledger.check()
