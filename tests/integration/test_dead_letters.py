"""What can never be stored becomes a dead letter with its reason; its mates, and other tenants, never notice."""

import time
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from sluice_core.edge.bucket import read_entry, write_config
from sluice_core.edge.letters import list_letters
from sluice_core.envelope import Record, Submission, encode_envelope, encode_submission
from sluice_core.letter import StoredLetter
from sluice_core.names import STANDARD_LANE, UNREADABLE, dead_letter_subject
from sluice_core.tenant import RedactionConfig, TenantConfig
from support.behind import publish
from support.ledger import Ledger, Outcome
from support.sluice import CANARY, TEXT, Account, Sluice, line

IN_TIME = 15.0
"""Seconds after which a record counts as stuck."""


async def validate(sluice: Sluice, tenant: Account, validator: dict[str, Any]) -> None:
    """What a tenant's administrator may do to his collection."""
    await sluice.database(tenant).command("collMod", "processed_logs", validator=validator)


NO_POISON = {"modified_data": {"$not": {"$regex": "poison"}}}


@asynccontextmanager
async def lifted_afterwards(sluice: Sluice, tenant: Account) -> AsyncIterator[None]:
    """Whatever the test finds, the lane of all other tests must not stay stuck."""
    try:
        yield
    finally:
        await validate(sluice, tenant, {})
        await sluice.idle()


def submission(tenant: Account, *records: Record, uid: str | None = None) -> bytes:
    received = time.time_ns() // 1000
    return encode_submission(
        Submission(tenant.id, uid or tenant.config.uid, "req-1", "json_upload", received, bytes(16), 0, list(records))
    )


def the_record(stored: StoredLetter) -> Record:
    """What is in a dead letter: one record, as it can go back into the lane."""
    submissions = stored.submissions()
    assert submissions is not None
    [[record]] = [submission.records for submission in submissions]
    return record


async def replace_config(sluice: Sluice, config: TenantConfig) -> None:
    """Tell all parts something else of a tenant."""
    await write_config(sluice.broker, config, replacing=await read_entry(sluice.broker, config.tenant_id))


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"garbage " + CANARY.encode(),
        b"\xc1",
        b"\x92\x02\x90",  # an envelope of version 2
        b"\x92\x01" + b"\x91" * 100_000,
        b"\x92\x01\x91\x91\xa1\xff",  # a string that is no UTF-8
        bytes(200_000),
    ],
    ids=["empty", "text", "never used", "newer", "nested", "no utf-8", "zeros"],
)
async def test_a_message_that_is_no_envelope_is_kept_whole(
    sluice: Sluice, ledger: Ledger, tenant: Account, garbage: bytes
) -> None:
    before = len(await sluice.dead_letters(UNREADABLE))
    await ledger.send_lines(tenant, 1)
    sequence = await publish(sluice, STANDARD_LANE, garbage)
    await ledger.send_lines(tenant, 1)
    await ledger.check(within=IN_TIME)
    letters = await sluice.dead_letters(UNREADABLE)
    assert len(letters) == before + 1
    assert letters[-1].payload == garbage
    letter = letters[-1].letter
    assert (letter.tenant_id, letter.reason, letter.attempts) == (UNREADABLE, "unreadable_message", 1)
    assert letter.version.split(".")[1] == str(sequence)


async def test_a_record_the_database_refuses_is_a_dead_letter(
    sluice: Sluice, ledger: Ledger, tenant: Account, other: Account
) -> None:
    await validate(sluice, tenant, NO_POISON)
    records = [{"log_id": f"{number}", "text": line("poison" if number == 3 else "fine")} for number in range(6)]
    answer, _ = await ledger.send(tenant, records, headers={"X-Request-Id": "req-9"})
    assert answer.json()["accepted"] == 6
    await ledger.send(other, records)
    await ledger.check(within=IN_TIME)
    assert [document["_id"] for document in await sluice.documents(tenant)] == list("01245")
    assert len(await sluice.documents(other)) == 6
    [stored] = await sluice.dead_letters(tenant)
    letter = stored.letter
    assert (letter.tenant_id, letter.reason, letter.log_id) == (tenant.id, "write_refused", "3")
    assert (letter.uid, letter.request_id, letter.source) == (tenant.config.uid, "req-9", "ndjson_upload")
    assert (letter.attempts, letter.detail) == (1, "the database answered error 121")
    assert abs(letter.received_at / 1e6 - time.time()) < 60
    assert len(letter.version.split(".")) == 3
    assert stored.stored_at
    # The metadata says which and why; the line itself is in the payload alone.
    assert "poison" not in repr(letter)
    assert the_record(stored).text == records[3]["text"]
    assert await sluice.dead_letters(other) == []
    assert await sluice.settled(tenant, "write_refused") == 1


async def test_a_record_an_index_refuses_is_a_dead_letter_too(sluice: Sluice, ledger: Ledger, tenant: Account) -> None:
    """It is a duplicate key, but not of the id: nothing of it is there already."""
    await sluice.logs(tenant).create_index("char_count", unique=True)
    records = [{"log_id": name, "text": line().ljust(size)} for name, size in (("a", 90), ("b", 91), ("c", 90))]
    await ledger.send(tenant, records)
    await ledger.check(within=IN_TIME)
    assert [document["_id"] for document in await sluice.documents(tenant)] == ["a", "b"]
    assert [(one.letter.log_id, one.letter.reason) for one in await sluice.dead_letters(tenant)] == [
        ("c", "write_refused")
    ]


async def test_a_newer_content_the_database_refuses_is_a_dead_letter(
    sluice: Sluice, ledger: Ledger, tenant: Account, other: Account
) -> None:
    """Refused as a replacement rather than as an insert; trying for ever would stop everybody's lane."""
    async with lifted_afterwards(sluice, tenant):
        await ledger.send(tenant, [{"log_id": "x", "text": (kept := line("fine"))}])
        await sluice.idle()
        await validate(sluice, tenant, NO_POISON)
        answer, [newer] = await ledger.send(tenant, [{"log_id": "x", "text": line("poison")}])
        assert answer.status_code == 202
        await ledger.send_lines(tenant, 1)
        await ledger.send_lines(other, 1)
        await sluice.idle(within=IN_TIME)
        [stored] = await sluice.dead_letters(tenant)
        assert (stored.letter.log_id, stored.letter.reason) == ("x", "write_refused")
        assert the_record(stored).text == newer.text
        assert kept in await sluice.texts(tenant)
        assert len(await sluice.documents(tenant)) == 2


async def test_a_newer_content_an_index_refuses_is_a_dead_letter(
    sluice: Sluice, ledger: Ledger, tenant: Account, other: Account
) -> None:
    """Taken for a duplicate first, since its id is there, and refused when it is to replace that."""
    try:
        await sluice.logs(tenant).create_index("char_count", unique=True, name="made_by_the_tenant")
        await ledger.send(
            tenant, [{"log_id": name, "text": line().ljust(size)} for name, size in (("a", 90), ("b", 91))]
        )
        await sluice.idle()
        await ledger.send(tenant, [{"log_id": "b", "text": line().ljust(90)}])
        await ledger.send_lines(other, 1)
        await sluice.idle(within=IN_TIME)
        assert [(one.letter.log_id, one.letter.reason) for one in await sluice.dead_letters(tenant)] == [
            ("b", "write_refused")
        ]
        assert [document["char_count"] for document in await sluice.documents(tenant)] == [90, 91]
    finally:
        await sluice.logs(tenant).drop_index("made_by_the_tenant")
        await sluice.idle()


async def test_a_duplicate_of_what_the_database_would_now_refuse_is_a_duplicate(
    sluice: Sluice, ledger: Ledger, tenant: Account, other: Account
) -> None:
    async with lifted_afterwards(sluice, tenant):
        record = {"log_id": "x", "text": line("poison")}
        await ledger.send(tenant, [record])
        await sluice.idle()
        await validate(sluice, tenant, NO_POISON)
        await ledger.send(tenant, [record])
        await ledger.send_lines(tenant, 1)
        await ledger.send_lines(other, 1)
        await ledger.check(within=IN_TIME)
        assert len(await sluice.documents(tenant)) == 2


async def test_a_record_that_cannot_be_a_document_is_a_dead_letter(
    sluice: Sluice, ledger: Ledger, tenant: Account
) -> None:
    """Ingest admits none of these; an older or newer one might."""
    bad: list[dict[str, Any]] = [{"n": 2**63}, {"a\0b": 1}]
    texts = [line() for _ in range(len(bad) + 1)]
    records = [Record(f"bad-{number}", texts[number], None, attributes) for number, attributes in enumerate(bad)]
    mate = Record("mate", texts[-1])
    for record in (*records, mate):
        assert record.log_id is not None
        ledger.note(tenant, record.log_id, record.text).outcome = Outcome.ACCEPTED
    await publish(sluice, STANDARD_LANE, encode_envelope([submission(tenant, *records, mate)]))
    await ledger.send_lines(tenant, 1)
    await ledger.check(within=IN_TIME)
    letters = await sluice.dead_letters(tenant)
    assert [(one.letter.log_id, one.letter.reason) for one in letters] == [
        ("bad-0", "unencodable_record"),
        ("bad-1", "unencodable_record"),
    ]


async def test_records_whose_policy_cannot_be_applied_are_dead_letters_rather_than_unredacted(
    sluice: Sluice, ledger: Ledger
) -> None:
    """Fail closed. Provisioning refuses such a policy; another release's may know detectors this worker does not."""
    tenant = await sluice.tenant("typo", lane="Dedicated")
    strange = msgspec.structs.replace(
        tenant.config, redaction=RedactionConfig({"iris": "Replace"}), revision=tenant.config.revision + 1
    )
    async with sluice.stack.keeper.still():
        await replace_config(sluice, strange)
        await ledger.send_lines(tenant, 2)
        await ledger.check(within=IN_TIME)
        assert await sluice.documents(tenant) == []
        assert {one.letter.reason for one in await sluice.dead_letters(tenant)} == {"redaction_failed"}
    await replace_config(sluice, msgspec.structs.replace(tenant.config, revision=strange.revision + 1))
    await ledger.send_lines(tenant, 1)
    await ledger.check(within=IN_TIME)


async def test_dead_letters_are_listed_in_their_order_and_in_pages(
    sluice: Sluice, ledger: Ledger, tenant: Account
) -> None:
    await validate(sluice, tenant, NO_POISON)
    ids = [f"Grüße\r\n{number:03}: \\u2028 日本" for number in range(250)]
    await ledger.send(tenant, [{"log_id": log_id, "text": line("poison")} for log_id in ids])
    await ledger.check(within=IN_TIME)
    letters = await sluice.dead_letters(tenant)
    assert sorted(one.letter.log_id for one in letters) == ids
    assert [one.sequence for one in letters] == sorted(one.sequence for one in letters)
    first = await list_letters(sluice.broker, dead_letter_subject(tenant.id), limit=100)
    rest = await list_letters(sluice.broker, dead_letter_subject(tenant.id), after=first[-1].sequence, limit=1000)
    assert [*first, *rest] == letters


async def test_no_header_of_a_dead_letter_holds_a_line(sluice: Sluice, tenant: Account) -> None:
    await validate(sluice, tenant, NO_POISON)
    await sluice.send(tenant, line("poison"), TEXT)
    [stored] = await sluice.dead_letters(tenant)
    answer = await sluice.broker.api("STREAM.MSG.GET.SLUICE_DLQ", {"seq": stored.sequence})
    headers = b64decode(answer["message"]["hdrs"]).decode()
    assert "Sluice-reason: write_refused" in headers
    assert CANARY not in headers
    assert "poison" not in headers
