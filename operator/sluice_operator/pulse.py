"""Whether the operator is at work, for the kubelet.

That HTTP is answered proves only that the event loop turns; a watch or a timer may have died quietly. So the timers
tell when they run. Invariant: dead only when there are Tenants whose timers have been silent for several intervals,
never because a broker or a database is away, which a restart would not mend.
"""

import time
from collections.abc import Callable

from sluice_operator.metrics import LAST_TIMER

_INTERVALS = 4.0


class Pulse:
    """The timers' signs of life. `tenants` says how many there are to be looked at."""

    def __init__(
        self, interval: float, tenants: Callable[[], int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval = interval
        self._tenants = tenants
        self._clock = clock
        self._last = clock()

    def beat(self) -> None:
        """A timer runs."""
        self._last = self._clock()
        LAST_TIMER.set_to_current_time()

    def alive(self) -> bool:
        """Whether it should be left running."""
        if not self._tenants():
            self._last = self._clock()
        return self._clock() - self._last < _INTERVALS * self._interval + 60.0
