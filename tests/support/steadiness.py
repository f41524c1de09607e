"""Whether what was sampled over a long run stays flat or grows: pure, so that a leak can be shown to be found.

The first third of a run is warm-up: caches fill, pools open. The second third is compared with the last. What grows by
a leak grows in every part of a run, so it is judged by the median of slopes between all samples (Theil and Sen), which
a single large batch does not move, and only where the medians of both thirds are apart by more than noise.
"""

from collections.abc import Sequence
from itertools import combinations
from statistics import median

import msgspec

LEAST_SAMPLES = 10
"""In each third: fewer say nothing."""


class Rule(msgspec.Struct, frozen=True):
    """What counts as growing; both must be exceeded."""

    percent_per_minute: float
    """Slope, of the second third's median."""
    apart: float
    """Between the medians of the second and the last third, in the samples' own unit."""


class Verdict(msgspec.Struct, frozen=True):
    """What became of one series."""

    second: float
    """Median of the second third."""
    last: float
    percent_per_minute: float
    growing: bool


Sample = tuple[float, float]
"""Seconds since the run began, and the value."""


LONGEST_WINDOW = 15.0
"""Seconds."""


def floors(samples: Sequence[Sample], seconds: float) -> list[Sample]:
    """The lowest sample of each of many windows of a run that took so long.

    What a batch or a backlog takes comes and goes, by tens of MiB; a leak raises what is left when it is gone.
    """
    window = min(LONGEST_WINDOW, seconds / (4 * LEAST_SAMPLES))
    lowest: dict[int, Sample] = {}
    for at, value in samples:
        number = int(at // window)
        if number not in lowest or value < lowest[number][1]:
            lowest[number] = (at, value)
    return list(lowest.values())


class TooFewSamples(Exception):
    """A series that nothing can be said about."""


def judge_series(samples: Sequence[Sample], rule: Rule, seconds: float) -> Verdict:
    """Judge one series of a run that took so long. Raises TooFewSamples: silence must not pass for being steady."""
    second = [sample for sample in samples if seconds / 3 <= sample[0] < 2 * seconds / 3]
    last = [sample for sample in samples if 2 * seconds / 3 <= sample[0] <= seconds]
    if min(len(second), len(last)) < LEAST_SAMPLES:
        raise TooFewSamples(f"{len(second)} and {len(last)} samples, {LEAST_SAMPLES} are needed")
    before = median(value for _, value in second)
    after = median(value for _, value in last)
    slopes = [(late - early) / (to - at) for (at, early), (to, late) in combinations([*second, *last], 2) if to > at]
    percent = median(slopes) * 60 / before * 100 if before else (100.0 if after else 0.0)
    growing = percent > rule.percent_per_minute and after - before > rule.apart
    return Verdict(before, after, percent, growing)
