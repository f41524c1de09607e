"""What waits for its tenant's turn, put together while it waits: pure.

Each write costs the database as much as dozens of records, whoever's it is. So a tenant's records are gathered until
its turn begins: the busier worker and database are, the fewer and larger the writes, however many tenants share the
lane; and where nobody waits, nothing is held up. Invariant: every batch that was added is in one turn, in the order in
which it was added; and of a tenant for whom something waits exactly one turn has been called for that has not begun.
"""

from collections import deque
from datetime import datetime
from typing import Generic, NamedTuple, TypeVar

from sluice_core.limits import Limits
from sluice_worker.company import LEAST_RECORDS, Company
from sluice_worker.handle import Item

MOST_RECORDS = 1024
"""More together gain nothing (facts of MongoDB 6.0), and one turn is prepared while another is being written."""

Key = TypeVar("Key")


class Turn(NamedTuple):
    """What is prepared and written together."""

    items: list[Item]
    since: datetime | None
    """When the first of them began to wait; None when there is nothing."""
    more: bool
    """Whether something still waits, for which another turn is to be called for."""
    pause: float
    """Seconds until that one may begin."""
    called: float | None
    """When it was called for, if it tells how busy everything is: a small one of a tenant that was not behind."""


NOTHING = Turn([], None, more=False, pause=0.0, called=None)
"""What there is before a turn has begun."""


class _Queue:
    """What waits of one tenant."""

    __slots__ = ("batches", "called", "records")

    def __init__(self, now: float) -> None:
        self.batches: deque[tuple[list[Item], datetime]] = deque()
        self.records = 0
        self.called: float | None = now
        """When its first turn was called for; None once that left something behind."""


class Turns(Generic[Key]):
    """The batches that wait, by whose they are."""

    def __init__(self) -> None:
        self._waiting: dict[Key, _Queue] = {}
        self._company = Company[Key]()

    def add(self, key: Key, batch: list[Item], since: datetime, now: float) -> bool:
        """Have a batch wait; whether a turn is to be called for, since none was that has not begun."""
        queue = self._waiting.get(key)
        called = queue is None
        if queue is None:
            queue = self._waiting[key] = _Queue(now)
        queue.batches.append((batch, since))
        queue.records += len(batch)
        return called

    def begin(self, key: Key, limits: Limits, now: float, full: float = 0.0) -> Turn:
        """The next turn of a tenant with these limits; empty when what waited was forgotten.

        `now` in seconds; `full` is how much of the worker's room is in use, of 1.
        """
        queue = self._waiting.get(key)
        if queue is None:
            return NOTHING
        step = self._company.step(key, queue.records, limits, now, full)
        most = MOST_RECORDS if step is None else min(step.records, MOST_RECORDS)
        items: list[Item] = []
        batches = queue.batches
        _, since = batches[0]
        while batches and (room := most - len(items)):
            batch, begun = batches[0]
            items += batch[:room]
            if len(batch) > room:
                batches[0] = (batch[room:], begun)
            else:
                batches.popleft()
        queue.records -= len(items)
        if batches:
            queue.called = None
        else:
            del self._waiting[key]
        called = queue.called if len(items) <= LEAST_RECORDS else None
        pause = 0.0 if step is None else step.pause(len(items))
        return Turn(items, since, more=bool(batches), pause=pause, called=called)

    def stored(self, turn: Turn, now: float) -> None:
        """A turn is over, and what was in it is stored."""
        if turn.called is not None:
            self._company.noticed(now - turn.called, now)

    def forget(self) -> None:
        """What waits has no turn any more: somebody else will have it."""
        self._waiting.clear()
