"""The ledger notices what the invariants forbid: without this, the other tests could pass for nothing."""

import pytest

from support.ledger import Entry, Ledger, Outcome, Sighting, find_strangers, judge
from support.sluice import Account, Sluice, line

ACCEPTED = Entry("a", "1", "one", Outcome.ACCEPTED)
UNKNOWN = Entry("a", "1", "one", Outcome.UNKNOWN)
REFUSED = Entry("a", "1", "one", Outcome.REFUSED)
NAMELESS = Entry("a", None, "one", Outcome.ACCEPTED)
STORED = Sighting("a", "1", "one")
DEAD = Sighting("a", "1", "one", dead=True)


@pytest.mark.parametrize(
    ("entries", "seen"),
    [
        ([ACCEPTED], [STORED]),
        ([ACCEPTED], [DEAD]),
        ([ACCEPTED], [Sighting("a", "1", None)]),
        ([ACCEPTED, ACCEPTED, UNKNOWN], [STORED]),
        ([ACCEPTED, Entry("a", "1", "two", Outcome.ACCEPTED)], [Sighting("a", "1", "two")]),
        ([ACCEPTED, Entry("b", "1", "one", Outcome.ACCEPTED)], [STORED, Sighting("b", "1", "one")]),
        ([UNKNOWN], [STORED]),
        ([UNKNOWN], []),
        ([REFUSED], []),
        ([NAMELESS], [Sighting("a", "made-up", "one")]),
        ([NAMELESS, NAMELESS], [Sighting("a", "x", "one"), Sighting("a", "y", "one")]),
    ],
)
def test_what_the_invariants_allow_is_no_problem(entries: list[Entry], seen: list[Sighting]) -> None:
    assert judge(entries, seen) == []


@pytest.mark.parametrize(
    ("entries", "seen", "problem"),
    [
        ([ACCEPTED], [], "missing"),
        ([ACCEPTED], [STORED, DEAD], "duplicated"),
        ([ACCEPTED], [STORED, STORED], "duplicated"),
        ([ACCEPTED], [STORED, Sighting("a", "2", "one")], "duplicated"),
        ([ACCEPTED], [Sighting("a", "1", "two")], "changed"),
        ([ACCEPTED], [STORED, Sighting("b", "1", "one")], "misplaced"),
        ([ACCEPTED], [STORED, Sighting("b", "2", "one")], "misplaced"),
        ([ACCEPTED], [STORED, Sighting("b", "1", None, dead=True)], "misplaced"),
        ([ACCEPTED], [STORED, Sighting("a", "2", "never sent")], "unexplained"),
        ([REFUSED], [STORED], "refused"),
        ([REFUSED, ACCEPTED], [], "missing"),
        ([UNKNOWN], [STORED, DEAD], "duplicated"),
        ([NAMELESS], [], "missing"),
        ([NAMELESS], [Sighting("a", "x", "one"), Sighting("a", "y", "one")], "duplicated"),
        ([Entry("a", None, "one", Outcome.REFUSED)], [Sighting("a", "x", "one")], "refused"),
    ],
)
def test_each_violation_is_named(entries: list[Entry], seen: list[Sighting], problem: str) -> None:
    problems = judge(entries, seen)
    assert len(problems) == 1
    assert problems[0].startswith(problem)


async def test_a_clean_book_passes(ledger: Ledger, tenant: Account, other: Account) -> None:
    await ledger.send_lines(tenant, 3)
    await ledger.send_lines(other, 2)
    await ledger.check()
    assert len(ledger.accepted) == 5


async def test_a_document_that_vanished_is_missed(sluice: Sluice, ledger: Ledger, tenant: Account) -> None:
    [entry] = await ledger.send_lines(tenant, 1)
    await ledger.check()
    await sluice.logs(tenant).delete_one({"_id": entry.log_id})
    with pytest.raises(AssertionError, match="missing"):
        await ledger.check()


async def test_a_document_in_a_strangers_database_is_found(
    sluice: Sluice, ledger: Ledger, tenant: Account, other: Account
) -> None:
    [entry] = await ledger.send_lines(tenant, 1)
    await ledger.check(everywhere=True)
    for trace in ({"_id": entry.log_id}, {"_id": "disguised", "original_text": entry.text}):
        await sluice.logs(other).insert_one(dict(trace))
        with pytest.raises(AssertionError, match="misplaced"):
            await ledger.check(everywhere=True)
        assert bool(await find_strangers(sluice)) is ("original_text" in trace)
        await sluice.logs(other).delete_many({})
    await ledger.check(everywhere=True)


async def test_a_record_stored_under_two_ids_is_found(sluice: Sluice, ledger: Ledger, tenant: Account) -> None:
    [entry] = await ledger.send_lines(tenant, 1)
    await ledger.check()
    await sluice.logs(tenant).insert_one({"_id": "again", "original_text": entry.text})
    with pytest.raises(AssertionError, match="duplicated"):
        await ledger.check()


async def test_a_refused_record_that_is_stored_is_found(sluice: Sluice, ledger: Ledger, tenant: Account) -> None:
    entry = ledger.note(tenant, "unwanted", line())
    entry.outcome = Outcome.REFUSED
    await ledger.check()
    await sluice.logs(tenant).insert_one({"_id": "unwanted", "original_text": entry.text})
    with pytest.raises(AssertionError, match="refused"):
        await ledger.check()
