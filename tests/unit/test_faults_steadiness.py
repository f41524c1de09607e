"""The judge of long runs finds a leak, and takes no noise for one."""

import random

import pytest

from support.steadiness import Rule, Sample, TooFewSamples, floors, judge_series

_RULE = Rule(percent_per_minute=1.0, apart=2.0)
_MINUTES = 10


def _series(grows: float, *, noise: float = 0.0, start: float = 80.0, every: int = 5) -> list[Sample]:
    """MiB by second; `grows` by so much a minute."""
    rng = random.Random(7)  # noqa: S311 - the same on each run
    return [
        (float(at), start + grows * at / 60 + rng.uniform(-noise, noise)) for at in range(0, _MINUTES * 60 + 1, every)
    ]


def _growing(samples: list[Sample], rule: Rule = _RULE) -> bool:
    return judge_series(samples, rule, _MINUTES * 60).growing


def test_a_leak_of_two_percent_a_minute_is_found_within_noise() -> None:
    assert _growing(_series(1.6))
    assert _growing(_series(1.6, noise=6))


def test_a_file_that_is_not_closed_every_twenty_seconds_is_found() -> None:
    rule = Rule(percent_per_minute=1.0, apart=3.0)
    assert _growing([(at, float(30 + at // 20)) for at, _ in _series(0)], rule)


def test_noise_alone_is_flat() -> None:
    assert not _growing(_series(0))
    assert not _growing(_series(0, noise=10))


def test_what_only_warms_up_is_flat() -> None:
    warm = [(at, min(80.0, 40 + at)) for at, _ in _series(0)]
    assert not _growing(warm)


def test_one_large_batch_is_no_leak() -> None:
    samples = [(at, value + (200 if 450 <= at <= 480 else 0)) for at, value in _series(0, noise=3)]
    assert not _growing(samples)


def test_a_step_that_stays_is_growth() -> None:
    """It may be the first of many."""
    samples = [(at, value + (20 if at >= 350 else 0)) for at, value in _series(0, noise=1)]
    assert _growing(samples)


def test_what_shrinks_is_not_growing() -> None:
    assert not _growing(_series(-3, noise=1))


def _with_backlogs(samples: list[Sample]) -> list[Sample]:
    """Up to 60 more for most of each quarter minute, the more the later."""
    return [(at, value + (at / 10 if at % 15 > 5 else 0)) for at, value in samples]


def test_backlogs_that_grow_and_are_worked_off_are_no_leak() -> None:
    samples = _with_backlogs(_series(0, noise=3, every=2))
    assert _growing(samples)
    assert not _growing(floors(samples, _MINUTES * 60))


def test_a_leak_is_found_below_backlogs() -> None:
    assert _growing(floors(_with_backlogs(_series(1.6, noise=3, every=2)), _MINUTES * 60))


@pytest.mark.parametrize("minutes", [2.0, 10.0, 60.0])
def test_floors_are_enough_to_judge_a_run_of_any_length(minutes: float) -> None:
    seconds = minutes * 60
    samples = [(float(at), 80.0) for at in range(0, int(seconds), 3)]
    assert not judge_series(floors(samples, seconds), _RULE, seconds).growing


def test_too_few_samples_do_not_pass_for_being_steady() -> None:
    with pytest.raises(TooFewSamples):
        judge_series([], _RULE, 600)
    with pytest.raises(TooFewSamples):
        judge_series(_series(0, every=60), _RULE, 600)
