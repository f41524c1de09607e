"""Which process or connection is hit when, and how: drawn from a seed, so that a run that failed can be had again.

Invariants: pure; the same seed and targets give the same schedule on every run; each process is killed in it at least
once, and two of them at nearly the same moment; what is drawn for the connections changes nothing of the rest.
"""

import random
from collections.abc import Sequence
from enum import Enum

import msgspec

FIRST_MOMENT = 0.4
"""Seconds: before it there is no load yet that a fault could hurt."""
LAST_MOMENT = 7.0
"""Seconds. Outages last one to three, so at this length some overlap and some do not."""
TOGETHER = 0.3
"""Seconds between two kills that are meant to overlap: shorter than any process needs to start."""
PAUSES = (0.1, 3.0)
"""Seconds a process stands still or a connection is disturbed: from a hiccup to longer than most calls may take."""


class Kind(Enum):
    """What is done to a process."""

    KILL = "kill -9"
    PAUSE = "pause"
    """SIGSTOP, and SIGCONT after a while."""
    ASK = "ask to stop"
    """SIGTERM."""
    CUT = "cut"
    """A connection is reset, and so is each new one, for a while."""
    SILENCE = "silence"
    """Nothing comes through a connection that stays, for a while."""
    SLOW = "slow down"
    """A connection passes on little at a time, for a while."""


OF_LINKS = (Kind.CUT, Kind.SILENCE, Kind.SLOW)
LASTING = {Kind.PAUSE, *OF_LINKS}


class Target(msgspec.Struct, frozen=True):
    """A process or a connection that may be hit."""

    name: str
    ours: bool = False
    """Our own parts promise to stop in order when asked; what the servers promise is not ours to test."""


class Fault(msgspec.Struct, frozen=True, order=True):
    """One blow."""

    at: float
    """Seconds after the beginning."""
    target: str
    kind: Kind
    seconds: float = 0.0
    """How long one lasts that lasts."""

    def __str__(self) -> str:
        length = f" for {self.seconds:.2f} s" if self.kind in LASTING else ""
        return f"{self.at:.2f} s {self.kind.value} {self.target}{length}"


class Schedule(msgspec.Struct, frozen=True):
    """All faults of one run, in order."""

    seed: int
    faults: list[Fault]

    def __str__(self) -> str:
        return f"seed {self.seed}: " + "; ".join(map(str, self.faults))


def draw(seed: int, targets: Sequence[Target], links: Sequence[Target] = ()) -> Schedule:
    """The schedule of this seed, for these processes and connections."""
    rng = random.Random(seed)  # noqa: S311 - to be repeatable is its purpose
    kills = {target.name: _moment(rng) for target in targets}
    # What a process holds for another that is gone is lost with it, unless it is kept elsewhere: so two pairs.
    names = rng.sample(sorted(kills), len(kills))
    for first, second in zip(names[0:4:2], names[1:4:2], strict=False):
        kills[second] = kills[first] + rng.uniform(0, TOGETHER)
    faults = [Fault(at, name, Kind.KILL) for name, at in kills.items()]
    for _ in range(rng.randint(3, 6)):
        target = rng.choice(targets)
        kind = rng.choice([Kind.KILL, Kind.PAUSE, Kind.PAUSE, *([Kind.ASK] if target.ours else [])])
        seconds = round(rng.uniform(*PAUSES), 2) if kind is Kind.PAUSE else 0.0
        faults.append(Fault(_moment(rng), target.name, kind, seconds))
    faults += _draw_links(random.Random(f"{seed}/links"), links)  # noqa: S311 - as above
    return Schedule(seed, sorted(faults, key=lambda fault: (fault.at, fault.target)))


def _draw_links(rng: random.Random, links: Sequence[Target]) -> list[Fault]:
    """Each connection once or twice, one after the other: two at once on one would be the later one alone."""
    faults = []
    for link in links:
        number = rng.randint(1, 2)
        span = (LAST_MOMENT - FIRST_MOMENT) / number
        for place in range(number):
            at = FIRST_MOMENT + place * span + rng.uniform(0, span / 4)
            seconds = round(rng.uniform(PAUSES[0], min(PAUSES[1], span * 3 / 4)), 2)
            faults.append(Fault(at, link.name, rng.choice(OF_LINKS), seconds))
    return faults


def _moment(rng: random.Random) -> float:
    return rng.uniform(FIRST_MOMENT, LAST_MOMENT)


def read_seeds(text: str) -> list[int]:
    """`7,9` and `1-20`, and both mixed, as numbers. Raises ValueError."""
    seeds: list[int] = []
    for piece in text.split(","):
        first, _, last = piece.partition("-")
        numbers = range(int(first), int(last or first) + 1)
        if not numbers:
            raise ValueError(f"{piece} holds no seed")
        seeds += numbers
    return seeds
