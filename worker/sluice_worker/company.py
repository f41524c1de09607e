"""How fast a tenant that is behind is caught up with while others share the worker with it: pure.

Who has more waiting than its limits let it send in a moment sent a burst, or was held up. That it is stored a little
sooner is worth little to it and costs its neighbours a lot, since worker and database are busy with it each time that
one of theirs comes. So in company it is stored in steps, at a pace that they do not notice; alone it is stored as fast
as it can be, and so it is where what waits leaves no room for what others send. Invariant: who is not behind is held
back by nothing, and so is everybody while nobody else is there.
"""

from typing import Generic, NamedTuple, TypeVar

from sluice_core.limits import Limits
from sluice_worker.pace import MOST, Pace, least

COMPANY_SECONDS = 1.0
"""Who had a turn within so long is likely to have another soon."""
_STEP_SECONDS = 0.01
LEAST_RECORDS = 32
"""Fewer cost the database nearly as much."""
LONGEST_PAUSE_SECONDS = 1.0
"""However small the limits are: one step a second is noticed by nobody."""

Key = TypeVar("Key")


class Step(NamedTuple):
    """What goes in one turn of a tenant that is behind."""

    records: int
    per_second: float

    def pause(self, records: int) -> float:
        """Seconds from the beginning of a turn of so many records to that of the next."""
        return min(records / self.per_second, LONGEST_PAUSE_SECONDS)


def step_of(limits: Limits, times_limit: float = MOST) -> Step:
    """The step of a tenant with these limits, at a pace of so many times what they let it send."""
    records = max(LEAST_RECORDS, int(MOST * limits.records_per_second * _STEP_SECONDS))
    return Step(records, times_limit * limits.records_per_second)


class Company(Generic[Key]):
    """Who had a turn lately and is not behind."""

    def __init__(self) -> None:
        self._prompt: dict[Key, float] = {}
        """When each last had a turn; the oldest comes first."""
        self._pace = Pace()

    def noticed(self, seconds: float, now: float) -> None:
        """A small turn of a tenant that is not behind took so long, from its call until it was stored."""
        self._pace.noticed(seconds, now)

    def step(self, key: Key, waiting: int, limits: Limits, now: float, full: float = 0.0) -> Step | None:
        """How to go on with a tenant for whom so many records wait; None: as fast as it can be.

        `full` is how much of the worker's room is in use, of 1.
        """
        self._prompt.pop(key, None)
        while self._prompt and self._prompt[oldest := next(iter(self._prompt))] < now - COMPANY_SECONDS:
            del self._prompt[oldest]
        times_limit = max(self._pace.times_limit, least(full))
        step = step_of(limits, times_limit)
        if waiting <= step.records:
            self._prompt[key] = now
            return None
        return step if self._prompt and times_limit <= MOST else None
