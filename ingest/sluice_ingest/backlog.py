"""One tenant's backlog: bytes that are in its lane and not settled, by what everybody says.

A running number: what any replica puts into the lane is added, what workers say is settled is subtracted. A replica
that was started later knows nothing of what was in the lane before it: it counts too little until that is settled, and
the others refuse for it. What workers settle and die before saying counts too much until the lane is idle. Invariant:
the number is wrong only for what happened while somebody could not be heard, and right again once the lane was idle.
"""

from sluice_core.errors import Refusal
from sluice_core.reasons import BACKLOG_FULL

TICK_SECONDS = 1.0
_UNKNOWN_DRAIN_SECONDS = 5.0
"""To wait where nothing is being settled: workers have to come first."""


class Backlog:
    """The number, its drain and its corrections. `tick` is due every TICK_SECONDS."""

    __slots__ = ("_added", "_added_before", "_before", "_drain", "_settled", "_size")

    def __init__(self) -> None:
        self._size = self._before = 0
        self._added = self._added_before = 0
        self._settled = 0
        self._drain = 0.0

    @property
    def size(self) -> int:
        """Bytes."""
        return max(0, self._size)

    def check(self, limit: int) -> None:
        """Raises Refusal with BACKLOG_FULL at `limit` bytes."""
        if self._size >= limit:
            seconds = (self._size - limit) / self._drain if self._drain >= 1 else _UNKNOWN_DRAIN_SECONDS
            detail = f"{self._size} bytes of the tenant are accepted and not stored yet; {limit} are allowed."
            raise Refusal(BACKLOG_FULL, detail, retry_after=seconds)

    def add(self, size: int) -> None:
        """These bytes are put into the lane."""
        self._size += size
        self._added += size

    def give_back(self, size: int) -> None:
        """These were not put into the lane after all."""
        self._size -= size
        self._added -= size

    def settle(self, size: int) -> None:
        """These are settled. They may be heard of before somebody says that he added them: then it is below 0."""
        self._size -= size
        self._settled += size

    def tick(self, *, idle: bool) -> None:
        """Correct the number; `idle`: since the last tick every worker of the lane has said that nothing is left."""
        # Workers look before they speak and we hear later: what was added within two ticks may still be on its way.
        if idle:
            self._size = min(self._size, self._added + self._added_before)
        # Below 0 for longer than a tick it is about what was in the lane before this process.
        if self._size < 0 and self._before < 0:
            self._size -= max(self._size, self._before)
        self._before = self._size
        self._added, self._added_before = 0, self._added
        self._drain = (self._drain + self._settled / TICK_SECONDS) / 2
        self._settled = 0
