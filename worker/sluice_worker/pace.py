"""How fast those who are behind may go on without the others noticing: pure.

As a background transfer yields on a network: nobody knows how busy database, broker and cores are with everybody's
work, but turns that take longer than usual say that they are too busy. Then who is behind goes slower, and otherwise
faster again. But what is held back takes room, and a worker without room takes in nobody's records: the less is left,
the faster who is behind goes at least. Invariants: the pace stays between `LEAST` and `MOST`; and nobody is held back
for ever, since what lasts becomes usual.
"""

import math

LEAST = 0.25
"""Times what the limits let a tenant send."""
MOST = 1.5
"""Times the same: a burst saved up in ten seconds is stored within twenty."""
_HALF, _CROWDED = 0.5, 0.75
"""Of the worker's room. Between them is the pace at which as much goes as comes."""
_LOOK_SECONDS = 0.25
_LEAST_SECONDS = 0.001
"""What is usual is never less: nobody notices a fraction of a millisecond more."""
_LEAST_TURNS = 5
"""Fewer say little about a quarter of a second; then the look is a longer one."""
_NOTICED = 1.3
"""Times the usual mean: alone, means of a quarter of a second differ by less (docs/decisions/0022)."""
_SLOWER = 0.8
_FASTER = 0.05
_DRIFT = 0.008
"""A second, by which what is usual rises meanwhile: what takes twice as long for good is noticed for a minute."""


def least(full: float) -> float:
    """The slowest pace, times the limits, while so much of the worker's room is in use: up to half of it `LEAST`.

    Beyond three quarters it is infinite: nobody is held back any more.
    """
    if full >= _CROWDED:
        return math.inf
    return LEAST + (MOST - LEAST) * max(0.0, full - _HALF) / (_CROWDED - _HALF)


class Pace:
    """What the turns of those who are not behind say about it."""

    def __init__(self) -> None:
        self.times_limit = MOST
        self._seconds = 0.0
        self._turns = 0
        self._looked: float | None = None
        self._usual = math.inf

    def noticed(self, seconds: float, now: float) -> None:
        """A turn of a tenant that is not behind took so long, from when it was called for until it was stored."""
        if self._looked is None:
            self._looked = now
        self._seconds += seconds
        self._turns += 1
        passed = now - self._looked
        if passed < _LOOK_SECONDS or self._turns < _LEAST_TURNS:
            return
        mean = self._seconds / self._turns
        usual = max(_LEAST_SECONDS, min(mean, self._usual * (1 + _DRIFT * min(passed, 1.0))))
        self._seconds, self._turns, self._looked, self._usual = 0.0, 0, now, usual
        if mean > _NOTICED * usual:
            self.times_limit = max(LEAST, self.times_limit * _SLOWER)
        else:
            self.times_limit = min(MOST, self.times_limit + _FASTER)
