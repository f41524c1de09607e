"""The bytes that all requests of this process may hold together.

Taken before a body is read and kept until the request is answered, so overload is refused while it is still cheap.
Invariants: what is held never exceeds the whole, and one tenant never holds more than its share of it, so a tenant
whose bodies trickle in cannot keep the others out.
"""

from typing import Self

from sluice_core.errors import Refusal
from sluice_core.limits import KIB
from sluice_core.reasons import OVERLOADED

REQUEST_BYTES = 16 * KIB
"""What even the smallest request counts: the objects around it."""


class Budget:
    """`total` bytes, of which one tenant may hold `share`, or a single request of any size if it has no other."""

    def __init__(self, total: int, share: int) -> None:
        self._total = total
        self._share = share
        self._held_by: dict[str, int] = {}
        self.held = 0
        """Bytes that are taken now."""

    def lease(self) -> "Lease":
        """Something to take bytes with, for one request."""
        return Lease(self)

    def _resize(self, holder: str, before: int, size: int) -> None:
        change = size - before
        mine = self._held_by.get(holder, 0)
        if change > 0:
            if self.held + change > self._total:
                raise Refusal(OVERLOADED)
            if mine > before and mine + change > self._share:
                raise Refusal(OVERLOADED, "Too much of the tenant's is on its way already: try again in a moment.")
        self.held += change
        if mine + change:
            self._held_by[holder] = mine + change
        else:
            self._held_by.pop(holder, None)


class Lease:
    """The bytes one request holds; leaving the context gives them back."""

    __slots__ = ("_budget", "_size", "holder")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._size = 0
        self.holder = ""
        """The tenant, to be set before anything is taken."""

    def __enter__(self) -> Self:
        """Holds nothing yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give everything back."""
        self.release()

    def release(self) -> None:
        """Hold nothing any more."""
        if self._size:
            self._budget._resize(self.holder, self._size, 0)  # noqa: SLF001 - two halves of one thing
            self._size = 0

    def resize(self, size: int) -> None:
        """Hold this many bytes from now on. Raises Refusal with OVERLOADED, and then holds what it held."""
        size = max(size, REQUEST_BYTES)
        if size != self._size:
            self._budget._resize(self.holder, self._size, size)  # noqa: SLF001
            self._size = size
