"""How much of each tenant waits in the shared lane, by what ingest and workers say of themselves.

What ingest has put into the lane is added, what workers have settled is taken away. Whoever began before we listened
has counted already, so its first word is only where we begin to count. Invariants: never below zero, never more than
the lane holds, and right again whenever the lane is empty.
"""

from collections.abc import Iterable, Mapping

from sluice_core.heartbeat import Heartbeat, IngestHeartbeat, WorkerHeartbeat
from sluice_core.names import STANDARD_LANE

_NEW = 3
"""A process is heard from its beginning when one of its first heartbeats is: they come twice a second."""


class SharedBacklog:
    """Bytes by tenant id."""

    def __init__(self) -> None:
        self._sums: dict[str, dict[str, int]] = {}
        """By process, what it said last of each tenant."""
        self._from_start: set[str] = set()
        self._bytes: dict[str, int] = {}
        self.settled: set[str] = set()
        """Tenants of whom something was settled, in any lane, until somebody empties this."""

    def hear(self, heartbeat: Heartbeat) -> None:
        """Take one heartbeat into account."""
        if heartbeat.instance not in self._sums:
            self._sums[heartbeat.instance] = {}
            if heartbeat.number <= _NEW:
                self._from_start.add(heartbeat.instance)
        match heartbeat:
            case IngestHeartbeat():
                self._add(heartbeat.instance, heartbeat.enqueued, 1)
            case WorkerHeartbeat():
                grown = self._add(heartbeat.instance, heartbeat.settled, -1 if heartbeat.lane == STANDARD_LANE else 0)
                self.settled.update(grown)
        if heartbeat.stopping:
            self._sums.pop(heartbeat.instance, None)
            self._from_start.discard(heartbeat.instance)

    def _add(self, instance: str, sums: Mapping[str, int], sign: int) -> list[str]:
        last, grown = self._sums[instance], []
        for tenant_id, total in sums.items():
            before = last.get(tenant_id, 0 if instance in self._from_start else total)
            if total != before or tenant_id not in last:
                grown.append(tenant_id)
            last[tenant_id] = total
            self._bytes[tenant_id] = max(0, self._bytes.get(tenant_id, 0) + sign * (total - before))
        return grown

    def size(self, tenant_id: str, lane_bytes: int) -> int:
        """The tenant's bytes, of a lane that holds so many altogether."""
        return min(self._bytes.get(tenant_id, 0), lane_bytes)

    def empty(self) -> None:
        """The lane is: whatever we thought was in it is not."""
        self._bytes.clear()

    def forget(self, living: Iterable[str]) -> None:
        """Keep nothing of processes that are not alive any more."""
        kept = set(living)
        for instance in self._sums.keys() - kept:
            del self._sums[instance]
            self._from_start.discard(instance)
