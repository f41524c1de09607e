"""What this worker's signs of life say: pure bookkeeping, with `now` as an argument.

Invariant: a sum never falls, and a tenant whose sum changed is named for long enough that a lost heartbeat or two say
nothing wrong.
"""

from collections.abc import Iterable, Sequence

from sluice_core.heartbeat import WorkerHeartbeat

NAMED_SECONDS = 10.0
"""How long a tenant is named after its sum changed."""


class HeartbeatBook:
    """The sums of one worker since it started."""

    def __init__(self, instance: str, lane: str) -> None:
        self._instance = instance
        self._lane = lane
        self._number = 0
        self._settled: dict[str, int] = {}
        self._changed: dict[str, float] = {}
        """When each sum last changed, the latest at the end."""

    def settle(self, volumes: Iterable[tuple[str, int]], now: float) -> None:
        """Add bytes that were settled, by tenant."""
        for tenant_id, size in volumes:
            self._settled[tenant_id] = self._settled.get(tenant_id, 0) + size
            self._changed.pop(tenant_id, None)
            self._changed[tenant_id] = now

    def make(
        self, now: float, *, seen: int, refusing: Sequence[str], idle: bool, stopping: bool = False
    ) -> WorkerHeartbeat:
        """The next one."""
        self._number += 1
        while self._changed and now - self._changed[oldest := next(iter(self._changed))] > NAMED_SECONDS:
            del self._changed[oldest]
        return WorkerHeartbeat(
            instance=self._instance,
            number=self._number,
            seen=seen,
            lane=self._lane,
            settled={tenant_id: self._settled[tenant_id] for tenant_id in self._changed},
            refusing=list(refusing),
            idle=idle,
            stopping=stopping,
        )
