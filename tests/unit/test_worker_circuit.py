"""A circuit: refusals open it, back-offs double, one batch at a time is the trial, one success closes it."""

from hypothesis import given
from hypothesis import strategies as st

from sluice_worker.circuit import FIRST_BACK_OFF_SECONDS, LONGEST_BACK_OFF_SECONDS, TRIAL_SECONDS, Circuits


def test_a_tenant_of_whom_nothing_is_known_may_ask() -> None:
    circuits = Circuits()
    assert circuits.may_ask("acme", 0)
    assert all(circuits.ask("acme", 0) for _ in range(5)), "closed, any number of batches are written at once"
    assert not circuits.succeeded("acme")
    assert len(circuits) == 0


def test_one_refusal_opens_it_for_that_tenant_alone() -> None:
    circuits = Circuits()
    assert circuits.refused("acme", 10, "AccessDenied")
    assert not circuits.may_ask("acme", 10)
    assert circuits.may_ask("beta", 10)
    assert (circuits.open, circuits.detail("acme"), circuits.detail("beta")) == (["acme"], "AccessDenied", "")


def test_after_the_back_off_one_batch_asks() -> None:
    circuits = Circuits()
    circuits.refused("acme", 0, "x")
    assert not circuits.ask("acme", FIRST_BACK_OFF_SECONDS - 0.01)
    assert circuits.ask("acme", FIRST_BACK_OFF_SECONDS)
    assert not circuits.ask("acme", FIRST_BACK_OFF_SECONDS)
    assert circuits.open == ["acme"], "until it has succeeded"


def test_its_success_closes_the_circuit() -> None:
    circuits = Circuits()
    circuits.refused("acme", 0, "x")
    assert circuits.ask("acme", 1)
    assert circuits.succeeded("acme")
    assert len(circuits) == 0
    assert all(circuits.ask("acme", 1) for _ in range(3))


def test_back_offs_double_up_to_the_longest() -> None:
    circuits = Circuits()
    circuits.refused("acme", 0, "x")
    now, waits = 0.0, []
    for _ in range(8):
        refused_at = now
        while not circuits.ask("acme", now):
            now += 0.5
        waits.append(now - refused_at)
        now += 10  # the trial hangs for a while
        assert not circuits.refused("acme", now, "x")
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]
    assert LONGEST_BACK_OFF_SECONDS == 30


def test_batches_that_had_begun_before_do_not_lengthen_the_back_off() -> None:
    circuits = Circuits()
    for moment in (0, 0.1, 0.2, 0.9):
        circuits.refused("acme", moment, "x")
    assert circuits.ask("acme", 1)


def test_a_back_off_starts_anew_after_a_success() -> None:
    circuits = Circuits()
    circuits.refused("acme", 0, "x")
    circuits.ask("acme", 1)
    circuits.refused("acme", 1, "x")
    circuits.succeeded("acme")
    circuits.refused("acme", 100, "x")
    assert circuits.may_ask("acme", 101)


def test_a_trial_of_which_nothing_is_heard_is_not_the_last() -> None:
    circuits = Circuits()
    circuits.refused("acme", 0, "x")
    assert circuits.ask("acme", 1)
    assert not circuits.may_ask("acme", TRIAL_SECONDS)
    assert circuits.may_ask("acme", 1 + TRIAL_SECONDS)


@given(st.lists(st.tuples(st.sampled_from(["ask", "refuse", "succeed"]), st.floats(0, 40)), max_size=40))
def test_a_tenant_that_waits_long_enough_may_always_ask_again(steps: list[tuple[str, float]]) -> None:
    circuits = Circuits()
    now = 0.0
    for step, wait in steps:
        now += wait
        match step:
            case "ask":
                allowed = circuits.may_ask("acme", now)
                assert circuits.ask("acme", now) is allowed
            case "refuse":
                circuits.refused("acme", now, "x")
            case _:
                circuits.succeeded("acme")
        assert ("acme" in circuits.open) or circuits.may_ask("acme", now)
    assert circuits.may_ask("acme", now + max(LONGEST_BACK_OFF_SECONDS, TRIAL_SECONDS))
