"""What became of records, counted and told to their messages.

Invariant: a record is counted once for each time it is settled, and under a tenant's name only if that tenant is known.
"""

import time
from collections import defaultdict
from collections.abc import Sequence

from sluice_core.reasons import TENANT_UNKNOWN, UNREADABLE_MESSAGE, Reason
from sluice_worker import metrics
from sluice_worker.handle import Item, Message
from sluice_worker.in_flight import InFlight
from sluice_worker.sink import Outcome


class Settling:
    """Settles the parts of messages that are in flight."""

    def __init__(self, in_flight: InFlight) -> None:
        self._in_flight = in_flight

    async def outcomes(self, tenant_id: str, outcomes: Sequence[Outcome]) -> None:
        """Settle records that were written, or buried."""
        counts: dict[str, int] = defaultdict(int)
        for outcome in outcomes:
            counts[outcome.reason.code] += 1
        for code, count in counts.items():
            metrics.SETTLED.labels(tenant_id, code).inc(count)
        items = [outcome.prepared.item for outcome in outcomes]
        now = time.time()
        for received_at in {id(one): one.received_at for one in (item.submission for item in items)}.values():
            metrics.ACCEPT_TO_STORE.observe(max(0.0, now - received_at / 1e6))
        await self._settle(items)

    async def parked(self, tenant_id: str, items: Sequence[Item], reason: Reason, detail: str) -> None:
        """Settle records that were parked."""
        metrics.SETTLED.labels(tenant_id, reason.code).inc(len(items))
        metrics.PARKED.labels(tenant_id, detail).inc(len(items))
        await self._settle(items)

    async def discarded(self, items: Sequence[Item]) -> None:
        """Settle records of a tenant that is gone or was never there, and whose name is worth no label of its own."""
        metrics.SETTLED.labels("", TENANT_UNKNOWN.code).inc(len(items))
        await self._settle(items)

    async def unreadable(self, message: Message) -> None:
        """Settle a message that is no envelope, and was kept whole."""
        metrics.SETTLED.labels("", UNREADABLE_MESSAGE.code).inc()
        await self._in_flight.settle(message, 1)

    async def _settle(self, items: Sequence[Item]) -> None:
        finished: dict[Message, int] = defaultdict(int)
        for item in items:
            finished[item.message] += 1
        for message, count in finished.items():
            await self._in_flight.settle(message, count)
