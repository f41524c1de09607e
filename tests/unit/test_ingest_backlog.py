"""The running number of a tenant's backlog: drift does not last."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_core.limits import MIB
from sluice_core.reasons import BACKLOG_FULL
from sluice_ingest.backlog import Backlog
from unit.fakes import refused


def _tick(backlog: Backlog, times: int = 1, *, idle: bool = False) -> None:
    for _ in range(times):
        backlog.tick(idle=idle)


def test_what_is_added_and_not_settled_is_the_backlog() -> None:
    backlog = Backlog()
    backlog.add(1000)
    backlog.add(500)
    backlog.settle(300)
    backlog.give_back(500)
    assert backlog.size == 700
    _tick(backlog, 10)
    assert backlog.size == 700


def test_at_the_limit_no_more_is_taken() -> None:
    backlog = Backlog()
    backlog.add(MIB - 1)
    backlog.check(MIB)
    backlog.add(1)
    with refused(BACKLOG_FULL):
        backlog.check(MIB)


def test_the_wait_follows_from_how_fast_it_drains() -> None:
    backlog = Backlog()
    backlog.add(100 * MIB)
    for _ in range(12):
        backlog.settle(2 * MIB)
        _tick(backlog)
    with refused(BACKLOG_FULL) as caught:
        backlog.check(56 * MIB)
    assert caught.value.retry_after == pytest.approx(10, rel=0.05)


def test_while_nothing_drains_the_wait_is_a_few_seconds() -> None:
    backlog = Backlog()
    backlog.add(100 * MIB)
    _tick(backlog, 3)
    with refused(BACKLOG_FULL) as caught:
        backlog.check(MIB)
    assert 1 <= caught.value.retry_after <= 10


def test_it_is_never_shown_below_nothing() -> None:
    backlog = Backlog()
    backlog.settle(1000)
    assert backlog.size == 0


def test_what_is_heard_to_be_settled_before_it_is_heard_to_be_added_evens_out() -> None:
    backlog = Backlog()
    backlog.settle(1000)
    _tick(backlog)
    backlog.add(1000)
    assert backlog.size == 0
    backlog.add(10)
    assert backlog.size == 10


def test_what_was_settled_of_a_time_before_is_forgiven() -> None:
    """A replica that was just started hears of the end of what it never heard the beginning of."""
    backlog = Backlog()
    for _ in range(10):
        backlog.settle(MIB)
        _tick(backlog)
    _tick(backlog, 2)
    backlog.add(10)
    assert backlog.size == 10


def test_an_idle_lane_has_no_backlog() -> None:
    """A worker that was killed never said what it had settled last."""
    backlog = Backlog()
    backlog.add(1000)
    _tick(backlog, 2)
    assert backlog.size == 1000
    _tick(backlog, idle=True)
    assert backlog.size == 0


def test_what_came_since_the_workers_looked_stays() -> None:
    backlog = Backlog()
    backlog.add(1000)
    _tick(backlog, 2)
    backlog.add(7)
    _tick(backlog, idle=True)
    assert backlog.size == 7
    _tick(backlog, idle=True)
    assert backlog.size == 7
    _tick(backlog, idle=True)
    assert backlog.size == 0


_events = st.one_of(
    st.tuples(st.just("add"), st.integers(0, MIB)),
    st.tuples(st.just("settle"), st.integers(0, MIB)),
    st.tuples(st.just("tick"), st.booleans()),
)


@given(st.lists(_events, max_size=40), st.integers(0, MIB))
def test_whatever_was_heard_once_the_lane_was_idle_it_is_right_again(events: list[tuple[str, int]], later: int) -> None:
    backlog = Backlog()
    for what, value in events:
        match what:
            case "add":
                backlog.add(value)
            case "settle":
                backlog.settle(value)
            case "tick":
                backlog.tick(idle=bool(value))
        assert backlog.size >= 0
    _tick(backlog, 4, idle=True)
    assert backlog.size == 0
    backlog.add(later)
    assert backlog.size == later
