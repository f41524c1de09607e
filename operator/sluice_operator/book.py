"""What the operator knows in memory of each Tenant object: never more than it could find out again.

A timer runs beside the update and delete handlers of the same object (measured), so whoever works on one holds its
lock, and one that is going is `gone` before its deletion waits for the lock. Invariant: nobody makes anything for a
Tenant that is gone.
"""

import asyncio
from collections import Counter
from typing import NamedTuple

from sluice_operator.conditions import Condition


class Numbers(NamedTuple):
    """What the status counts, under these names there."""

    backlog: int
    """Bytes accepted and not stored."""
    stored: int
    """Documents, about."""
    deadLetters: int  # noqa: N815 - the status's name


class Ref(NamedTuple):
    """Which object."""

    namespace: str
    name: str
    uid: str


class Page:
    """Of one Tenant object."""

    def __init__(self, ref: Ref) -> None:
        self.ref = ref
        self.lock = asyncio.Lock()
        self.gone = False
        self.namespace_uid = ""
        self.tenant_id = ""
        self.lane = ""
        self.conditions: tuple[Condition, ...] = ()
        self.numbers: Numbers | None = None
        """As the status shows them."""
        self.failures = 0
        """Looks in a row that left something to be done."""
        self.again: asyncio.TimerHandle | None = None
        self.looked_at = float("-inf")


class Book:
    """All of them, by uid."""

    def __init__(self) -> None:
        self._pages: dict[str, Page] = {}

    def page(self, ref: Ref) -> Page:
        """The object's page, made when there is none."""
        return self._pages.setdefault(ref.uid, Page(ref))

    def pages(self) -> list[Page]:
        """All that are not gone."""
        return [page for page in self._pages.values() if not page.gone]

    def of_lane(self, lane: str) -> list[Page]:
        """Whose lane this is."""
        return [page for page in self.pages() if page.lane == lane]

    def of_tenant(self, tenant_id: str) -> Page | None:
        """Who holds this tenant id."""
        return next((page for page in self.pages() if page.tenant_id == tenant_id), None)

    def close(self, ref: Ref) -> None:
        """Forget an object whose finalizer is released. Its page lingers with whoever holds it, as gone."""
        page = self._pages.pop(ref.uid, None)
        if page is not None:
            page.gone = True
            if page.again is not None:
                page.again.cancel()

    def census(self) -> Counter[tuple[str, str]]:
        """How many tenants have each condition in each status."""
        return Counter((one.type, one.status) for page in self.pages() for one in page.conditions)
