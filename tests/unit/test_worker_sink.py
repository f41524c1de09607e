"""The sink: whatever the order, each id ends as its newest record, and each record has one true outcome."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import bson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice_core.edge.store import Inserted
from sluice_core.envelope import Record
from sluice_core.errors import AccessDenied, StoreUnavailable
from sluice_core.reasons import DUPLICATE, OUTDATED, REPLACED, STORED, WRITE_REFUSED, Reason
from sluice_core.version import Version
from sluice_worker.documents import Prepared
from sluice_worker.handle import Item, Message
from sluice_worker.sink import Outcome, fold, write
from unit.fakes import FakeStore, delivery, envelope, submission
from unit.virtual import run

_MESSAGE = Message(delivery(envelope()))
_NOW = datetime(2025, 1, 1, tzinfo=UTC)


def _prepared(log_id: str, content: str, version: int) -> Prepared:
    """A record: `content` stands for its text and is its hash as well."""
    order = Version(version, 1, 0)
    item = Item(_MESSAGE, submission(Record(log_id, content)), 0, order)
    document = {"_id": log_id, "modified_data": content, "content_hash": f"#{content}", "version": order.document()}
    return Prepared(item, log_id, f"#{content}", bson.encode(document), None)


def _write(store: FakeStore, *batch: Prepared) -> list[Reason]:
    outcomes = run(write(store, "acme", batch))
    assert len(outcomes) == len(batch)
    by_record = {id(outcome.prepared): outcome.reason for outcome in outcomes}
    return [by_record[id(prepared)] for prepared in batch]


def _state(store: FakeStore) -> dict[str, tuple[str, int]]:
    return {
        log_id: (document["modified_data"], document["version"]["time"])
        for log_id, document in store.of("acme").items()
    }


def test_new_records_cost_one_insert_and_nothing_else() -> None:
    store = FakeStore()
    assert _write(store, _prepared("1", "a", 1), _prepared("2", "b", 2)) == [STORED, STORED]
    assert store.calls == ["insert"]
    assert _state(store) == {"1": ("a", 1), "2": ("b", 2)}


def test_the_same_record_again_is_a_duplicate() -> None:
    store = FakeStore()
    _write(store, _prepared("1", "a", 1))
    assert _write(store, _prepared("1", "a", 1)) == [DUPLICATE]
    assert _state(store) == {"1": ("a", 1)}


def test_a_newer_duplicate_raises_the_version() -> None:
    store = FakeStore()
    _write(store, _prepared("1", "a", 1))
    assert _write(store, _prepared("1", "a", 5)) == [DUPLICATE]
    assert _state(store) == {"1": ("a", 5)}
    assert _write(store, _prepared("1", "b", 3)) == [OUTDATED], "the sender said `a` again after it had said `b`"
    assert _state(store) == {"1": ("a", 5)}


def test_an_older_duplicate_changes_nothing() -> None:
    store = FakeStore()
    _write(store, _prepared("1", "a", 5))
    assert _write(store, _prepared("1", "a", 1)) == [DUPLICATE]
    assert _state(store) == {"1": ("a", 5)}


def test_newer_content_replaces_and_older_does_not() -> None:
    store = FakeStore()
    _write(store, _prepared("1", "a", 2))
    assert _write(store, _prepared("1", "b", 3)) == [REPLACED]
    assert _write(store, _prepared("1", "c", 1)) == [OUTDATED]
    assert _state(store) == {"1": ("b", 3)}


def test_a_duplicate_costs_its_batch_mates_nothing() -> None:
    store = FakeStore()
    _write(store, _prepared("2", "b", 1))
    outcomes = _write(store, _prepared("1", "a", 2), _prepared("2", "b", 2), _prepared("3", "c", 2))
    assert outcomes == [STORED, DUPLICATE, STORED]


def test_a_record_that_the_database_refuses_fails_alone() -> None:
    store = FakeStore()
    store.refuse.add("2")
    _write(store, _prepared("3", "c", 1))
    batch = [_prepared("1", "a", 2), _prepared("2", "b", 2), _prepared("3", "d", 2)]
    outcomes = run(write(store, "acme", batch))
    assert {outcome.prepared.log_id: outcome.reason for outcome in outcomes} == {
        "1": STORED,
        "2": WRITE_REFUSED,
        "3": REPLACED,
    }
    [detail] = [outcome.detail for outcome in outcomes if outcome.reason is WRITE_REFUSED]
    assert "121" in detail


def test_a_document_that_vanished_in_between_is_inserted_again() -> None:
    store = FakeStore()
    _write(store, _prepared("1", "a", 1))

    async def vanish() -> None:
        if store.calls[-1] == "find":
            store.of("acme").clear()

    store.pause = vanish
    assert _write(store, _prepared("1", "b", 2)) == [STORED]
    assert _state(store) == {"1": ("b", 2)}


def test_an_id_that_never_comes_to_rest_is_given_up_in_bounded_time() -> None:
    class _Restless(FakeStore):
        async def insert(self, tenant_id: str, documents: Any) -> Inserted:
            await super().insert(tenant_id, documents)
            return Inserted(list(range(len(documents))), {})

        async def find(self, tenant_id: str, log_ids: Any) -> dict[str, Any]:
            return {}

    store = _Restless()
    assert _write(store, _prepared("1", "a", 1)) == [WRITE_REFUSED]
    assert len(store.calls) < 10


@pytest.mark.parametrize("calls", range(4))
@pytest.mark.parametrize("error", [StoreUnavailable("away"), AccessDenied("no")])
def test_a_fault_is_raised_and_writing_the_batch_again_is_safe(calls: int, error: Exception) -> None:
    store = FakeStore()
    _write(store, _prepared("1", "a", 1), _prepared("2", "b", 1))
    batch = [_prepared("1", "x", 2), _prepared("2", "b", 2), _prepared("3", "c", 2)]

    async def fail_later() -> None:
        if len(store.calls) == first + calls + 1:
            raise error

    first = len(store.calls)
    store.pause = fail_later
    with suppress(StoreUnavailable):
        _write(store, *batch)
    store.pause = lambda: asyncio.sleep(0)
    outcomes = _write(store, *batch)
    assert not {OUTDATED, WRITE_REFUSED} & set(outcomes)
    assert _state(store) == {"1": ("x", 2), "2": ("b", 2), "3": ("c", 2)}


# -- folding ---------------------------------------------------------------------------------------------------------
def test_without_equal_ids_there_is_nothing_to_fold() -> None:
    batch = [_prepared("1", "a", 1), _prepared("2", "a", 1)]
    assert fold(batch) == (batch, [])


def test_of_equal_ids_the_newest_is_written_wherever_it_stands() -> None:
    for place in range(3):
        batch = [_prepared("1", "a", 1), _prepared("1", "b", 2)]
        batch.insert(place, _prepared("1", "b", 9))
        winners, losers = fold(batch)
        assert [one.item.version.time for one in winners] == [9]
        assert {one.item.version.time: winner.item.version.time for one, winner in losers} == {1: 9, 2: 9}
        outcomes = run(write(FakeStore(), "acme", batch))
        reasons = {one.prepared.item.version.time: one.reason for one in outcomes}
        assert reasons == {1: OUTDATED, 2: DUPLICATE, 9: STORED}


def test_an_older_record_is_tried_when_the_newer_one_with_its_id_is_refused() -> None:
    class _Picky(FakeStore):
        async def insert(self, tenant_id: str, documents: Any) -> Inserted:
            bad = {
                position: 121
                for position, raw in enumerate(documents)
                if bson.decode(raw)["modified_data"].startswith("bad")
            }
            good = [raw for position, raw in enumerate(documents) if position not in bad]
            existing = (await super().insert(tenant_id, good)).existing
            places = [position for position in range(len(documents)) if position not in bad]
            return Inserted([places[position] for position in existing], bad)

    store = _Picky()
    batch = [
        _prepared("1", "oldest", 1),
        _prepared("1", "old", 2),
        _prepared("1", "bad", 3),
        _prepared("1", "bad newest", 4),
        _prepared("1", "bad newest", 2),
        _prepared("2", "other", 1),
    ]
    assert _write(store, *batch) == [OUTDATED, STORED, WRITE_REFUSED, WRITE_REFUSED, DUPLICATE, STORED]
    assert _state(store) == {"1": ("old", 2), "2": ("other", 1)}


def test_the_same_delivery_twice_in_a_batch_is_one_record_and_a_duplicate() -> None:
    store = FakeStore()
    assert sorted(reason.code for reason in _write(store, _prepared("1", "a", 1), _prepared("1", "a", 1))) == [
        "duplicate",
        "stored",
    ]


# -- any order, any interleaving -------------------------------------------------------------------------------------
_sent = st.dictionaries(
    st.tuples(st.sampled_from(["1", "2", "3"]), st.integers(1, 6)), st.sampled_from("ab"), min_size=1, max_size=10
)
"""What was accepted: id and version say which content."""


def _newest(sent: dict[tuple[str, int], str]) -> dict[str, tuple[str, int]]:
    newest: dict[str, tuple[str, int]] = {}
    for (log_id, version), content in sorted(sent.items(), key=lambda one: one[0][1]):
        newest[log_id] = (content, version)
    return newest


def _check_outcomes(outcomes: list[Outcome], sent: dict[tuple[str, int], str]) -> None:
    """Each id was stored once, nothing was refused, and what is outdated is not the newest."""
    newest = _newest(sent)
    assert [outcome.reason for outcome in outcomes if outcome.reason is WRITE_REFUSED] == []
    for log_id in newest:
        of_id = [outcome for outcome in outcomes if outcome.prepared.log_id == log_id]
        assert sum(outcome.reason is STORED for outcome in of_id) == 1
        for outcome in of_id:
            if outcome.reason is OUTDATED:
                assert outcome.prepared.item.version.time < newest[log_id][1]


@settings(max_examples=40)
@given(_sent, st.data())
def test_any_order_of_batches_ends_in_the_same_state(sent: dict[tuple[str, int], str], data: st.DataObject) -> None:
    deliveries = data.draw(st.permutations(list(sent) + data.draw(st.lists(st.sampled_from(sorted(sent)), max_size=4))))
    store = FakeStore()
    outcomes: list[Outcome] = []
    while deliveries:
        size = data.draw(st.integers(1, len(deliveries)))
        batch = [_prepared(log_id, sent[log_id, version], version) for log_id, version in deliveries[:size]]
        deliveries = deliveries[size:]
        written = run(write(store, "acme", batch))
        assert sorted(map(id, batch)) == sorted(id(outcome.prepared) for outcome in written)
        outcomes += written
    assert _state(store) == _newest(sent)
    assert all(document["content_hash"] == f"#{document['modified_data']}" for document in store.of("acme").values())
    _check_outcomes(outcomes, sent)


@settings(max_examples=60)
@given(_sent, st.data())
def test_any_interleaving_of_workers_ends_in_the_same_state(
    sent: dict[tuple[str, int], str], data: st.DataObject
) -> None:
    deliveries = data.draw(st.permutations(list(sent) + data.draw(st.lists(st.sampled_from(sorted(sent)), max_size=4))))
    batches: list[list[Prepared]] = []
    while deliveries:
        size = data.draw(st.integers(1, len(deliveries)))
        batches.append([_prepared(log_id, sent[log_id, version], version) for log_id, version in deliveries[:size]])
        deliveries = deliveries[size:]
    store = FakeStore()
    delays = st.integers(0, 3)

    async def main() -> list[Outcome]:
        async def pause() -> None:
            await asyncio.sleep(data.draw(delays))

        store.pause = pause
        written = await asyncio.gather(*(write(store, "acme", batch) for batch in batches))
        return [outcome for outcomes in written for outcome in outcomes]

    outcomes = run(main())
    assert len(outcomes) == sum(map(len, batches))
    assert _state(store) == _newest(sent)
    assert all(document["content_hash"] == f"#{document['modified_data']}" for document in store.of("acme").values())
    _check_outcomes(outcomes, sent)


def test_raising_a_version_does_not_give_it_to_other_content() -> None:
    """`a` was accepted at 1 and again at 3, `b` at 2; while `a` at 3 is settled, `b` takes the place of `a` at 1."""
    store = FakeStore()
    _write(store, _prepared("1", "a", 1))
    other = _prepared("1", "b", 2)

    async def overtake() -> None:
        if store.calls[-1] == "raise_versions":
            store.pause = lambda: asyncio.sleep(0)
            [outcome] = await write(store, "acme", [other])
            assert outcome.reason is REPLACED

    store.pause = overtake
    assert _write(store, _prepared("1", "a", 3)) == [REPLACED]
    assert _state(store) == {"1": ("a", 3)}
