"""Backlog, stored and dead letters in the status of every Tenant, from one loop for all.

A handful of requests a round however many tenants there are, a count of documents only where workers have settled
something, and a patch only where a number is another one. Invariants: nothing is patched more often than every
`interval` seconds, nor faster than `_PATCHES_A_SECOND`; with more changed tenants than `_A_ROUND` the rounds stretch.
"""

import asyncio
import logging

from sluice_core.edge.access import Access
from sluice_core.edge.broker import Broker
from sluice_core.edge.heartbeats import Roster
from sluice_core.edge.lanes import list_streams
from sluice_core.edge.letters import count_by_tenant
from sluice_core.edge.store import store_errors
from sluice_core.errors import SluiceError
from sluice_core.names import STANDARD_LANE, dead_letter_subject, lane_stream
from sluice_operator.backlog import SharedBacklog
from sluice_operator.book import Book, Numbers, Page
from sluice_operator.kube.client import Kube
from sluice_operator.kube.kinds import TENANT

log = logging.getLogger(__name__)

_A_ROUND = 100
_LONGEST_SECONDS = 120.0
_PATCHES_A_SECOND = 10.0
_RECOUNT_ROUNDS = 40
"""After so many rounds a tenant's documents are counted again although nothing was settled: retention removes some."""


class Counting:
    """Counts, and writes what changed."""

    def __init__(
        self,
        broker: Broker,
        access: Access,
        kube: Kube,
        roster: Roster,
        book: Book,
        backlog: SharedBacklog,
        interval: float,
    ) -> None:
        self._broker = broker
        self._access = access
        self._kube = kube
        self._roster = roster
        self._book = book
        self._backlog = backlog
        self._interval = interval
        self._stored: dict[str, int] = {}
        self._round = 0

    async def run(self) -> None:
        """Count until cancelled."""
        pause = self._interval
        while True:
            await asyncio.sleep(pause)
            pause = self._interval
            try:
                changed = await self.once()
            except SluiceError as error:
                log.info("counting has to wait", extra={"error": str(error)})
            else:
                pause = min(_LONGEST_SECONDS, self._interval * max(1.0, changed / _A_ROUND))

    async def once(self) -> int:
        """One round; returns how many tenants had other numbers."""
        self._round += 1
        streams = await list_streams(self._broker)
        dead = await count_by_tenant(self._broker, dead_letter_subject("*"))
        held = {name: int(info["state"]["bytes"]) for name, info in streams.items()}
        shared = held.get(lane_stream(STANDARD_LANE), 0)
        if not shared:
            self._backlog.empty()
        self._backlog.forget(heartbeat.instance for heartbeat in self._roster.live())
        settled, self._backlog.settled = self._backlog.settled, set()
        changed: list[tuple[Page, Numbers]] = []
        for page in self._book.pages():
            if not page.tenant_id or not page.lane:
                continue
            waiting = (
                self._backlog.size(page.tenant_id, shared)
                if page.lane == STANDARD_LANE
                else held.get(lane_stream(page.lane), 0)
            )
            stored = await self._count(page, counted_before=page.tenant_id not in settled)
            numbers = Numbers(waiting, stored, dead.get(page.tenant_id, 0))
            if page.numbers != numbers:
                changed.append((page, numbers))
        for page, numbers in changed:
            await self._write(page, numbers)
            await asyncio.sleep(1 / _PATCHES_A_SECOND)
        return len(changed)

    async def _count(self, page: Page, *, counted_before: bool) -> int:
        tenant_id = page.tenant_id
        turn = (self._round + hash(tenant_id)) % _RECOUNT_ROUNDS == 0
        if not counted_before or turn or tenant_id not in self._stored:
            with store_errors():
                self._stored[tenant_id] = await self._access.count(tenant_id)
        return self._stored[tenant_id]

    async def _write(self, page: Page, numbers: Numbers) -> None:
        if page.gone:
            return
        before = page.numbers._asdict() if page.numbers is not None else {}
        difference = {name: value for name, value in numbers._asdict().items() if before.get(name) != value}
        await self._kube.patch_status(TENANT, page.ref.namespace, page.ref.name, difference)
        page.numbers = numbers
