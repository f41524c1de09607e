"""What waits for its tenant's turn, put together while it waits: pure.

Each write costs the database as much as dozens of records, whoever's it is. So a tenant's records are gathered until
its turn begins: the busier worker and database are, the fewer and larger the writes, however many tenants share the
lane; and where nobody waits, nothing is held up. Invariant: every batch that was added is in one turn, in the order in
which it was added; and of a tenant for whom something waits exactly one turn has been called for that has not begun.
"""

from collections import deque
from datetime import datetime
from typing import Generic, NamedTuple, TypeVar

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


class Turns(Generic[Key]):
    """The batches that wait, by whose they are."""

    def __init__(self) -> None:
        self._waiting: dict[Key, deque[tuple[list[Item], datetime]]] = {}

    def add(self, key: Key, batch: list[Item], since: datetime) -> bool:
        """Have a batch wait; whether a turn is to be called for, since none was that has not begun."""
        queue = self._waiting.get(key)
        if queue is None:
            self._waiting[key] = deque([(batch, since)])
            return True
        queue.append((batch, since))
        return False

    def begin(self, key: Key) -> Turn:
        """The next turn, of as much as may go together; empty when what waited was forgotten."""
        queue = self._waiting.get(key)
        if queue is None:
            return Turn([], None, more=False)
        items: list[Item] = []
        _, since = queue[0]
        while queue and (room := MOST_RECORDS - len(items)):
            batch, begun = queue[0]
            items += batch[:room]
            if len(batch) > room:
                queue[0] = (batch[room:], begun)
            else:
                queue.popleft()
        if not queue:
            del self._waiting[key]
        return Turn(items, since, more=bool(queue))

    def forget(self) -> None:
        """What waits has no turn any more: somebody else will have it."""
        self._waiting.clear()
