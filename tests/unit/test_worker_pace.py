"""Who is behind goes as fast as the others do not notice, and is held back by nobody for ever."""

from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from sluice_worker.pace import LEAST, MOST, Pace

USUAL = 0.002
EVERY = 0.01


def _turns(pace: Pace, seconds: float, *, takes: float, begin: float = 0.0) -> float:
    """A calm tenant's turns, a hundred a second; returns when they end."""
    now = begin
    for number in count(1):
        now = begin + number * EVERY
        pace.noticed(takes, now)
        if now >= begin + seconds:
            break
    return now


def test_it_begins_with_the_fastest() -> None:
    assert Pace().times_limit == MOST


def test_while_turns_take_as_long_as_usual_nothing_changes() -> None:
    pace = Pace()
    _turns(pace, 10, takes=USUAL)
    assert pace.times_limit == MOST


def test_a_little_longer_than_usual_is_nothing_to_be_noticed() -> None:
    pace = Pace()
    end = _turns(pace, 5, takes=USUAL)
    _turns(pace, 5, takes=1.25 * USUAL, begin=end)
    assert pace.times_limit == MOST


def test_within_three_seconds_of_turns_twice_as_long_it_is_the_slowest() -> None:
    pace = Pace()
    end = _turns(pace, 5, takes=USUAL)
    _turns(pace, 3, takes=2 * USUAL, begin=end)
    assert pace.times_limit == LEAST


def test_once_turns_are_as_usual_again_it_becomes_the_fastest_again() -> None:
    pace = Pace()
    end = _turns(pace, 5, takes=USUAL)
    end = _turns(pace, 3, takes=2 * USUAL, begin=end)
    _turns(pace, 8, takes=USUAL, begin=end)
    assert pace.times_limit == MOST


def test_what_lasts_becomes_usual_so_nobody_is_held_back_for_ever() -> None:
    pace = Pace()
    end = _turns(pace, 5, takes=USUAL)
    end = _turns(pace, 30, takes=2 * USUAL, begin=end)
    assert pace.times_limit == LEAST
    _turns(pace, 60, takes=2 * USUAL, begin=end)
    assert pace.times_limit == MOST


def test_one_stall_costs_one_notch_and_not_more() -> None:
    pace = Pace()
    end = _turns(pace, 5, takes=USUAL)
    pace.noticed(2.0, end + EVERY)
    end = _turns(pace, 0.3, takes=USUAL, begin=end + EVERY)
    assert LEAST < pace.times_limit < MOST
    _turns(pace, 3, takes=USUAL, begin=end)
    assert pace.times_limit == MOST


def test_turns_too_short_to_be_measured_make_nothing_else_look_long() -> None:
    pace = Pace()
    end = _turns(pace, 5, takes=0.0)
    _turns(pace, 5, takes=0.001, begin=end)
    assert pace.times_limit == MOST


def test_a_pause_of_the_calm_tenant_says_nothing() -> None:
    pace = Pace()
    end = _turns(pace, 5, takes=USUAL)
    _turns(pace, 0.5, takes=2 * USUAL, begin=end + 3600)
    assert pace.times_limit < MOST, "what was usual an hour ago is usual"


@given(st.lists(st.tuples(st.floats(0, 1000), st.floats(0, 100)), max_size=200))
def test_it_stays_between_the_slowest_and_the_fastest(turns: list[tuple[float, float]]) -> None:
    pace = Pace()
    now = 0.0
    for seconds, later in turns:
        now += later
        pace.noticed(seconds, now)
        assert LEAST <= pace.times_limit <= MOST
