"""What waits for a tenant's turn goes together, as much as may, in the order in which it came."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from sluice_core.envelope import Record
from sluice_core.limits import DEFAULT_LIMITS, Limits
from sluice_worker.company import LEAST_RECORDS, step_of
from sluice_worker.handle import Item, Message, items
from sluice_worker.turns import MOST_RECORDS, NOTHING, Turns
from unit.fakes import delivery, envelope, submission

_NOW = datetime(2026, 11, 25, tzinfo=UTC)


def _items(sequence: int, count: int = 1) -> list[Item]:
    message = Message(delivery(envelope(submission(*[Record(None, "a")] * count)), sequence))
    return [item for _, part in items(message) for item in part]


def test_the_first_batch_calls_for_a_turn_and_what_comes_before_it_begins_joins_it() -> None:
    turns = Turns[str]()
    first, second, third = (_items(number) for number in (1, 2, 3))
    assert turns.add("acme", first, _NOW, 0.0)
    assert not turns.add("acme", second, _NOW, 0.0)
    assert turns.begin("acme", DEFAULT_LIMITS, 0.0).items == [*first, *second]
    assert turns.add("acme", third, _NOW, 0.0), "what has begun is joined by nothing more"
    assert turns.begin("acme", DEFAULT_LIMITS, 0.0).items == third


def test_tenants_do_not_join_each_other() -> None:
    turns = Turns[str]()
    batches = {key: _items(number) for number, key in enumerate(("acme", "beta", "gamma"))}
    assert [turns.add(key, batch, _NOW, 0.0) for key, batch in batches.items()] == [True] * 3
    for key, batch in batches.items():
        assert turns.begin(key, DEFAULT_LIMITS, 0.0).items == batch


def test_a_turn_began_to_wait_when_the_first_of_it_did() -> None:
    turns = Turns[str]()
    later = _NOW + timedelta(seconds=1)
    turns.add("acme", _items(1, MOST_RECORDS), _NOW, 0.0)
    turns.add("acme", _items(2), later, 0.0)
    assert turns.begin("acme", DEFAULT_LIMITS, 0.0).since == _NOW
    assert turns.begin("acme", DEFAULT_LIMITS, 0.0).since == later


def test_what_does_not_fit_waits_for_another_turn_that_is_called_for_by_the_one_before() -> None:
    turns = Turns[str]()
    batch = _items(1, 2 * MOST_RECORDS + 1)
    turns.add("acme", batch, _NOW, 0.0)
    found = [turns.begin("acme", DEFAULT_LIMITS, 0.0) for _ in range(3)]
    assert [len(turn.items) for turn in found] == [MOST_RECORDS, MOST_RECORDS, 1]
    assert [turn.more for turn in found] == [True, True, False]
    assert [item for turn in found for item in turn.items] == batch


def test_in_company_a_turn_of_who_is_behind_is_one_step_and_the_next_may_not_begin_at_once() -> None:
    turns = Turns[str]()
    small = Limits(records_per_second=1_000)
    step = step_of(small)
    turns.add("calm", _items(1), _NOW, 0.0)
    assert turns.begin("calm", small, 0.0).pause == 0.0
    batch = _items(2, 2 * step.records + 1)
    turns.add("flood", batch[:1], _NOW, 0.0)
    turns.add("flood", batch[1:], _NOW, 0.0)
    found = [turns.begin("flood", small, 0.1) for _ in range(3)]
    assert [item for turn in found for item in turn.items] == batch
    assert [len(turn.items) for turn in found] == [step.records, step.records, 1]
    assert [turn.pause > 0 for turn in found] == [True, True, False], "what is left at last is no backlog"


def test_how_busy_everything_is_is_told_by_small_turns_that_waited_behind_nothing() -> None:
    turns = Turns[str]()
    turns.add("acme", _items(1), _NOW, 1.0)
    turns.add("acme", _items(2, LEAST_RECORDS - 1), _NOW, 2.0)
    assert turns.begin("acme", DEFAULT_LIMITS, 3.0).called == 1.0
    turns.add("acme", _items(3, LEAST_RECORDS + 1), _NOW, 4.0)
    assert turns.begin("acme", DEFAULT_LIMITS, 5.0).called is None, "a large one takes longer anyway"
    turns.add("acme", _items(4, MOST_RECORDS + 1), _NOW, 6.0)
    assert [turns.begin("acme", DEFAULT_LIMITS, 7.0).called for _ in range(2)] == [None, None], "the last waited behind"
    turns.add("acme", _items(5), _NOW, 8.0)
    assert turns.begin("acme", DEFAULT_LIMITS, 9.0).called == 8.0


def test_while_small_turns_take_longer_than_usual_the_next_step_may_begin_later() -> None:
    turns = Turns[str]()
    small = Limits(records_per_second=1_000)
    turns.add("flood", _items(1, 10 * step_of(small).records), _NOW, 0.0)
    pauses = []
    for number in range(800):
        now = number / 100
        turns.add("calm", _items(number), _NOW, now)
        turns.stored(turns.begin("calm", small, now), now + (0.002 if number < 400 else 0.004))
        if number in (399, 799):
            pauses.append(turns.begin("flood", small, now).pause)
    assert pauses[1] == 6 * pauses[0], "from the fastest to the slowest"


def test_what_is_forgotten_leaves_an_empty_turn_and_a_clean_table() -> None:
    turns = Turns[str]()
    turns.add("acme", _items(1), _NOW, 0.0)
    turns.forget()
    assert turns.begin("acme", DEFAULT_LIMITS, 0.0) is NOTHING
    assert turns.add("acme", _items(2), _NOW, 0.0)


@given(st.lists(st.one_of(st.integers(1, 2000), st.none()), max_size=40))
def test_every_record_has_one_turn_and_of_who_waits_one_turn_is_called_for(steps: list[int | None]) -> None:
    """A number adds so many records, None begins the turn that was called for."""
    turns = Turns[str]()
    added: list[Item] = []
    begun: list[Item] = []
    called = 0

    def begin() -> None:
        nonlocal called
        turn = turns.begin("acme", DEFAULT_LIMITS, 0.0)
        called += turn.more - 1
        begun.extend(turn.items)
        assert 0 < len(turn.items) <= MOST_RECORDS

    for number, step in enumerate(steps):
        if step is not None:
            batch = _items(number, step)
            called += turns.add("acme", batch, _NOW, 0.0)
            added += batch
        elif called:
            begin()
        assert called == (len(begun) < len(added))
    while called:
        begin()
    assert begun == added
