"""A tenant that is suspended: refused, told to drop, or buffered until that ends, and then stored exactly once."""

import json

import pytest

from sluice_core.edge.heartbeats import Roster
from sluice_core.edge.letters import count_letters
from sluice_core.names import TENANTS_STREAM, parked_subject
from sluice_ingest.merging import MERGE_FROM
from support.ledger import Ledger
from support.sluice import NDJSON, TEXT, Account, Sluice, line
from support.waiting import eventually

IN_TIME = 30.0


async def suspend(sluice: Sluice, tenant: Account, suspension: str) -> Account:
    """Change it, and wait until every process knows."""
    changed = await sluice.tenant(tenant.id, exactly=True, suspension=suspension)
    sequence = (await sluice.broker.api(f"STREAM.INFO.{TENANTS_STREAM}"))["state"]["last_seq"]
    roster = Roster(sluice.broker)
    await roster.start()

    async def seen() -> bool:
        return roster.all_have_seen(sequence)

    await eventually(seen, within=IN_TIME)
    return changed


@pytest.mark.parametrize(("suspension", "status", "code"), [("Reject", 403, "suspended"), ("Drop", 410, "dropping")])
async def test_a_suspended_tenant_is_told_what_to_do_with_its_records(
    sluice: Sluice, tenant: Account, other: Account, suspension: str, status: int, code: str
) -> None:
    await suspend(sluice, tenant, suspension)
    async with sluice.nothing_published():
        answer = await sluice.send(tenant, line(), TEXT)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["retryable"] is False
    assert "retry-after" not in answer.headers
    assert (await sluice.send(other, line(), TEXT)).status_code == 202
    await suspend(sluice, tenant, "Active")
    assert (await sluice.send(tenant, line(), TEXT)).status_code == 202


async def test_what_is_buffered_is_stored_once_when_that_ends(sluice: Sluice, ledger: Ledger, tenant: Account) -> None:
    await suspend(sluice, tenant, "Buffer")
    async with sluice.nothing_published():
        for _ in range(5):
            await ledger.send_lines(tenant, 7)
        # More than one envelope, so more than one letter.
        await ledger.send(tenant, [{"text": line("long").ljust(20_000)} for _ in range(40)])
        retried = json.dumps({"text": (text := line("sent twice"))})
        for _ in range(2):
            answer = await sluice.send(tenant, retried, headers={"Idempotency-Key": "k"})
            assert answer.status_code == 202
        ledger.read(answer, [ledger.note(tenant, None, text)])
        plain = ledger.note(tenant, None, line("as text"))
        ledger.read(await sluice.send(tenant, plain.text, TEXT), [plain])
        # The returning replica looks every second.
        letters = await sluice.parked(tenant)
        assert sum(letter.letter.records for letter in letters) == 5 * 7 + 40 + 2 + 1
        assert {letter.letter.reason for letter in letters} == {"buffered"}
    assert await sluice.documents(tenant) == []
    await suspend(sluice, tenant, "Active")
    await ledger.check(within=60)
    assert len(ledger.accepted) == 5 * 7 + 40 + 1 + 1
    assert await sluice.logs(tenant).count_documents({}) == len(ledger.accepted)
    assert await sluice.dead_letters(tenant) == []


async def test_a_shipper_that_sends_one_at_a_time_can_be_buffered_for_long(
    sluice: Sluice, ledger: Ledger, tenant: Account
) -> None:
    """A tenant may have so many letters and no more, so many small ones are made few."""
    await suspend(sluice, tenant, "Buffer")
    sent = MERGE_FROM + 50
    for _ in range(sent):
        await ledger.send_lines(tenant, 1)

    async def few() -> bool:
        return (await count_letters(sluice.broker, parked_subject(tenant.id)))[parked_subject(tenant.id)] < 100

    await eventually(few, within=60)
    await suspend(sluice, tenant, "Active")
    await ledger.check(within=60)
    assert await sluice.logs(tenant).count_documents({}) == len(ledger.accepted) == sent


async def test_of_records_with_one_id_the_one_accepted_last_wins_whatever_was_buffered(
    sluice: Sluice, tenant: Account
) -> None:
    async def send(**texts: str) -> None:
        body = "\n".join(json.dumps({"log_id": log_id, "text": text}) for log_id, text in texts.items())
        assert (await sluice.send(tenant, body, NDJSON)).status_code == 202

    first, second, third = line("first"), line("second"), line("third")
    await send(before=first)
    await sluice.idle()
    await suspend(sluice, tenant, "Buffer")
    await send(before=second, within=first, later=first)
    await send(within=second)
    await suspend(sluice, tenant, "Active")
    # The buffered ones are perhaps still on their way back.
    await send(later=third)

    async def returned() -> bool:
        return not await sluice.parked(tenant)

    await eventually(returned, within=IN_TIME)
    documents = {document["_id"]: document for document in await sluice.documents(tenant)}
    texts = {log_id: document["original_text"] for log_id, document in documents.items()}
    assert texts == {"before": second, "within": second, "later": third}
    order = [(documents[log_id]["version"]["time"]) for log_id in ("before", "within", "later")]
    assert order == sorted(order)


async def test_what_was_buffered_is_stored_although_the_tenant_is_refused_now(
    sluice: Sluice, tenant: Account, ledger: Ledger
) -> None:
    await suspend(sluice, tenant, "Buffer")
    await ledger.send_lines(tenant, 3)
    await suspend(sluice, tenant, "Reject")
    await ledger.check(within=60)
    assert len(await sluice.documents(tenant)) == 3
