"""What the replicas of ingest and the workers tell each other, and what that means for the quotas.

Sums since the process began go out, so a lost heartbeat loses nothing; what is new in them is told to the quotas once.
Invariant: a number that may be from before we listened is a starting point, never news.
"""

import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from sluice_core.heartbeat import LIVE_SECONDS, Heartbeat, IngestHeartbeat, Volume, WorkerHeartbeat
from sluice_ingest.quotas import Quotas

REPEAT_SECONDS = 10.0
"""For so long a change is repeated: heartbeats are not acknowledged."""
EVERYTHING_TIMES = 4
"""So many heartbeats hold everything once somebody new was heard: one of them will arrive."""

_FORGET_SECONDS = 60.0
"""Silent for longer, a process that is heard again counts as a new one, and what it did meanwhile as known."""


class News(NamedTuple):
    """What one sum has grown by."""

    amount: int
    unsure: bool
    """It is the first word about this sum, so some of it may be from long ago."""


class Sums:
    """The last sums that one process said, of one kind, by tenant."""

    __slots__ = ("_complete", "_heard", "_last")

    def __init__(self, *, complete: bool) -> None:
        """`complete`: heard from its first heartbeat on, so whatever has not been said is 0."""
        self._complete = complete
        self._heard = 0
        self._last: dict[str, int] = {}

    def news(self, sums: Mapping[str, int], *, repeats: bool) -> dict[str, News]:
        """What is new in these; `repeats`: the process says everything once to whoever is new."""
        known = self._complete or (repeats and self._heard >= EVERYTHING_TIMES)
        self._heard += 1
        found: dict[str, News] = {}
        for tenant_id, total in sums.items():
            before = self._last.get(tenant_id)
            if before is None and known:
                found[tenant_id] = News(total, unsure=not self._complete)
            elif before is not None and total > before:
                found[tenant_id] = News(total - before, unsure=False)
            self._last[tenant_id] = total
        return found


class _Process:
    """One other process, as far as it has been heard."""

    __slots__ = ("enqueued", "heard_at", "records", "settled", "sizes")

    def __init__(self, now: float, *, complete: bool) -> None:
        self.heard_at = now
        self.records = Sums(complete=complete)
        self.sizes = Sums(complete=complete)
        self.enqueued = Sums(complete=complete)
        self.settled = Sums(complete=complete)


class Conversation:
    """Our side of it: makes our heartbeats and hears the others'. `seen` as in IngestHeartbeat."""

    def __init__(self, quotas: Quotas, seen: Callable[[], int]) -> None:
        self.instance = secrets.token_hex(8)
        self._quotas = quotas
        self._seen = seen
        self._clock = quotas.clock
        self._number = 0
        self._everything = 0
        self._spoken_at = quotas.clock()
        self._processes: dict[str, _Process] = {}
        self._lanes: dict[str, dict[str, bool]] = {}
        """Whether each worker of a lane has said nothing but `idle` since somebody asked."""

    def speak(self, *, early: bool = False, stopping: bool = False) -> IngestHeartbeat:
        """The next heartbeat; an early one repeats nothing that the last one has said."""
        self._number += 1
        now = self._clock()
        since = self._spoken_at if early else now - REPEAT_SECONDS
        self._spoken_at = now
        if self._everything > 0:
            self._everything -= 1
            since = float("-inf")
        accepted: dict[str, Volume] = {}
        enqueued: dict[str, int] = {}
        for tenant_id, account in self._quotas.changed(since):
            accepted[tenant_id] = account.accepted
            enqueued[tenant_id] = account.enqueued
        return IngestHeartbeat(
            instance=self.instance,
            number=self._number,
            seen=self._seen(),
            accepted=accepted,
            enqueued=enqueued,
            stopping=stopping,
        )

    def hear(self, heartbeat: Heartbeat) -> None:
        """Take what is new in somebody's heartbeat; our own comes back to us, too."""
        if heartbeat.instance == self.instance:
            return
        process = self._find(heartbeat)
        late = self._clock() - process.heard_at > LIVE_SECONDS
        process.heard_at = self._clock()
        if isinstance(heartbeat, WorkerHeartbeat):
            for tenant_id, news in process.settled.news(heartbeat.settled, repeats=False).items():
                self._quotas.hear_settled(tenant_id, news.amount)
            workers = self._lanes.setdefault(heartbeat.lane, {})
            workers[heartbeat.instance] = heartbeat.idle and workers.get(heartbeat.instance, True)
        else:
            self._hear_ingest(process, heartbeat, late=late)
        if heartbeat.stopping:
            del self._processes[heartbeat.instance]

    def idle_lanes(self, live: Iterable[Heartbeat]) -> set[str]:
        """Lanes of which every live worker has said `idle`, and nothing else, since this was asked last."""
        said, self._lanes = self._lanes, {}
        idle = {lane for lane, workers in said.items() if all(workers.values())}
        for heartbeat in live:
            if isinstance(heartbeat, WorkerHeartbeat) and heartbeat.instance not in said.get(heartbeat.lane, ()):
                idle.discard(heartbeat.lane)
        return idle

    def _hear_ingest(self, process: _Process, heartbeat: IngestHeartbeat, *, late: bool) -> None:
        accepted = heartbeat.accepted
        records = process.records.news({name: volume.records for name, volume in accepted.items()}, repeats=True)
        sizes = process.sizes.news({name: volume.size for name, volume in accepted.items()}, repeats=True)
        for tenant_id in records.keys() | sizes.keys():
            record, size = records.get(tenant_id, _NONE), sizes.get(tenant_id, _NONE)
            volume = Volume(record.amount, size.amount)
            self._quotas.hear_accepted(tenant_id, volume, unsure=late or record.unsure or size.unsure)
        for tenant_id, news in process.enqueued.news(heartbeat.enqueued, repeats=True).items():
            self._quotas.hear_enqueued(tenant_id, news.amount)

    def _find(self, heartbeat: Heartbeat) -> _Process:
        process = self._processes.get(heartbeat.instance)
        if process is None:
            oldest = self._clock() - _FORGET_SECONDS
            self._processes = {name: one for name, one in self._processes.items() if one.heard_at >= oldest}
            process = self._processes[heartbeat.instance] = _Process(self._clock(), complete=heartbeat.number == 1)
            self._everything = EVERYTHING_TIMES
        return process


_NONE = News(0, unsure=False)
