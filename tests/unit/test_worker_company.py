"""Who is behind goes in steps while others share the worker with it, and as fast as it can when nobody does."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_core.limits import DEFAULT_LIMITS, Limits
from sluice_worker.company import COMPANY_SECONDS, LEAST_RECORDS, LONGEST_PAUSE_SECONDS, Company, step_of
from sluice_worker.pace import MOST
from sluice_worker.turns import MOST_RECORDS

SMALL = Limits(records_per_second=2_000)
STEP = step_of(SMALL)


def _company_of_a_calm_tenant() -> Company[str]:
    company = Company[str]()
    assert company.step("calm", 1, SMALL, now=0.0) is None
    return company


def test_alone_a_tenant_goes_as_fast_as_it_can_however_much_waits() -> None:
    company = Company[str]()
    assert company.step("flood", 20_000, SMALL, now=0.0) is None


def test_in_company_who_is_behind_goes_in_steps() -> None:
    company = _company_of_a_calm_tenant()
    assert company.step("flood", STEP.records + 1, SMALL, now=0.5) == STEP


def test_who_is_not_behind_is_held_back_by_nobody() -> None:
    company = _company_of_a_calm_tenant()
    assert company.step("other", STEP.records, SMALL, now=0.5) is None


def test_company_is_over_when_the_others_had_no_turn_for_a_while() -> None:
    company = _company_of_a_calm_tenant()
    assert company.step("flood", 20_000, SMALL, now=COMPANY_SECONDS) == STEP
    assert company.step("flood", 20_000, SMALL, now=COMPANY_SECONDS + 0.1) is None


def test_a_tenant_is_no_company_to_itself() -> None:
    company = _company_of_a_calm_tenant()
    assert company.step("calm", 20_000, SMALL, now=0.1) is None


def test_two_that_are_both_behind_hold_each_other_back_in_nothing() -> None:
    company = Company[str]()
    assert [company.step(key, 20_000, SMALL, now=0.0) for key in ("one", "two", "one")] == [None] * 3


def test_while_the_others_turns_take_longer_than_usual_the_pace_is_slower() -> None:
    company = _company_of_a_calm_tenant()
    for number in range(400):
        company.noticed(0.002 if number < 100 else 0.004, now=number / 100)
    company.step("calm", 1, SMALL, now=4.0)
    step = company.step("flood", 20_000, SMALL, now=4.0)
    assert step is not None
    assert step.records == STEP.records
    assert step.per_second < SMALL.records_per_second


def test_the_less_room_is_left_the_faster_who_is_behind_goes_until_nobody_is_held_back() -> None:
    company = _company_of_a_calm_tenant()
    for number in range(400):
        company.noticed(0.002 if number < 100 else 0.004, now=number / 100)
    company.step("calm", 1, SMALL, now=4.0)
    steps = [company.step("flood", 20_000, SMALL, now=4.0, full=share / 100) for share in range(101)]
    paces = [math.inf if step is None else step.per_second for step in steps]
    assert paces == sorted(paces)
    assert paces[0] == paces[50] < SMALL.records_per_second
    assert paces[74] > SMALL.records_per_second
    assert paces[75] == math.inf


def test_with_the_smallest_limits_a_step_is_at_most_a_second_away() -> None:
    assert step_of(Limits(records_per_second=1)).pause(LEAST_RECORDS) == LONGEST_PAUSE_SECONDS


@pytest.mark.parametrize("records", [1, 32, 1024])
def test_at_its_fastest_the_pace_is_above_what_the_tenant_may_send(records: int) -> None:
    assert records / STEP.pause(records) == pytest.approx(MOST * SMALL.records_per_second)
    assert MOST > 1


def test_the_limits_that_a_tenant_has_by_default_leave_turns_nearly_whole() -> None:
    assert step_of(DEFAULT_LIMITS).records > MOST_RECORDS / 2


@given(st.integers(1, 1_000_000))
def test_a_step_is_never_so_small_that_it_is_mostly_overhead(per_second: int) -> None:
    assert step_of(Limits(records_per_second=per_second)).records >= LEAST_RECORDS


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 100), st.floats(0, 2)), max_size=40))
def test_somebody_is_held_back_only_if_another_had_a_prompt_turn_lately(
    turns: list[tuple[str, int, float]],
) -> None:
    company = Company[str]()
    now = 0.0
    prompt: dict[str, float] = {}
    for key, waiting, later in turns:
        now += later
        held_back = company.step(key, waiting, SMALL, now) is not None
        behind = waiting > STEP.records
        others = any(other != key and at >= now - COMPANY_SECONDS for other, at in prompt.items())
        assert held_back == (behind and others)
        prompt.pop(key, None)
        if not behind:
            prompt[key] = now
