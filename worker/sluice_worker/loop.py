"""The worker's loop: time, redelivery and patience, around the pure parts.

It pulls a window, hands each tenant's part to the sink, and acknowledges a message when all of it is settled. Whatever
does not answer now is tried again, with signs of life to the broker meanwhile, so nothing is given up and nothing is
acknowledged early. Invariant: an acknowledgement is sent only after every record of the message has its outcome.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Coroutine
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol

from sluice_core.edge.lanes import ACK_WAIT_SECONDS
from sluice_core.edge.pull import Delivery
from sluice_core.edge.store import AccessDenied
from sluice_core.errors import BrokerUnavailable
from sluice_core.reasons import TENANT_UNKNOWN, Reason
from sluice_core.tenant import TenantConfig
from sluice_worker import metrics
from sluice_worker.documents import Prepared
from sluice_worker.graveyard import Graveyard
from sluice_worker.handle import Item, Message, Verdict, by_delay, items, judge
from sluice_worker.patience import persist
from sluice_worker.preparers import Preparers
from sluice_worker.sink import Outcome, Store, write
from sluice_worker.window import Source, pull_window

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = ACK_WAIT_SECONDS / 3
_CONFIRM_SECONDS = 5.0
_PAUSE_SECONDS = 0.5


class Lane(Source, Protocol):
    """The lane's consumer."""

    async def acknowledge(self, delivery: Delivery) -> None:
        """Finish a message."""
        ...

    async def in_progress(self, delivery: Delivery) -> None:
        """Ask for more time."""
        ...

    async def give_back(self, delivery: Delivery) -> None:
        """Have it delivered again."""
        ...

    @property
    def waiting(self) -> tuple[Delivery, ...]:
        """Pulled and in no window yet."""
        ...


class View(Protocol):
    """What the loop asks of the tenants view."""

    def tenant(self, tenant_id: str) -> TenantConfig | None:
        """By id."""
        ...

    async def confirm(self, timeout: float) -> bool:
        """Wait for a complete re-read."""
        ...


class Loop:
    """The loop of one worker on one lane."""

    def __init__(
        self,
        lane: Lane,
        view: View,
        store: Store,
        preparers: Preparers,
        graveyard: Graveyard,
        *,
        in_flight_bytes: int,
        parallel_windows: int,
        parallel_writes: int,
        seconds_per_char: float,
    ) -> None:
        self._lane = lane
        self._view = view
        self._store = store
        self._preparers = preparers
        self._graveyard = graveyard
        self._most_bytes = in_flight_bytes
        self._seconds_per_char = seconds_per_char
        self._windows = asyncio.Semaphore(parallel_windows)
        self._writes = asyncio.Semaphore(parallel_writes)
        self._in_flight: set[Message] = set()
        self._bytes = 0
        self._room = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Pull and process until cancelled; what is in flight then goes on, see `stop`."""
        heartbeat = asyncio.create_task(self._heartbeat())
        try:
            while True:
                await self._windows.acquire()
                window: list[Message] = []
                try:
                    window = await self._pull()
                finally:
                    if not window:
                        self._windows.release()
                if window:
                    self._spawn(self._process(window))
        finally:
            heartbeat.cancel()

    async def stop(self, timeout: float) -> None:
        """After `run` was cancelled: let writes finish for `timeout` seconds and give back what is not finished."""
        held = [task for task in self._tasks if task.get_name() == "hold"]
        for task in held:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for message in list(self._in_flight):
            await self._lane.give_back(message.delivery)

    async def _pull(self) -> list[Message]:
        while self._bytes >= self._most_bytes:
            self._room.clear()
            await self._room.wait()
        window: list[Message] = []
        try:
            await pull_window(self._lane, self._most_bytes - self._bytes, window)
        except BrokerUnavailable:
            await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            for message in window:  # also when cancelled in the middle: what was pulled must be given back
                self._in_flight.add(message)
                self._change_bytes(message.size)
                if message.delivery.delivered > 1:
                    metrics.REDELIVERED.inc()
        return window

    async def _process(self, window: list[Message]) -> None:
        try:
            batches: dict[str, list[Item]] = defaultdict(list)
            for message in window:
                if message.envelope is None:
                    await persist("dead letters", partial(self._graveyard.bury_message, message))
                    await self._settle(message, 1)
                    continue
                if message.unsettled == 0:
                    await self._settle(message, 0)
                for submission, part in items(message):
                    verdict = judge(submission, self._view.tenant(submission.tenant_id), confirmed=False)
                    if verdict is Verdict.UNSURE:
                        verdict = await self._confirm(part[0]) if part else Verdict.DISCARD
                    if verdict is Verdict.STORE:
                        batches[submission.tenant_id] += part
                    else:
                        await self._finish_all(part, TENANT_UNKNOWN)
            metrics.WINDOW_RECORDS.observe(sum(map(len, batches.values())))
            started = datetime.now(UTC)
            now = []
            for tenant_id, batch in batches.items():
                for delay, group in by_delay(batch, self._delay).items():
                    if delay:
                        self._spawn(self._hold(delay, tenant_id, group, started), name="hold")
                    else:
                        now.append(self._store_batch(tenant_id, group, started))
            await asyncio.gather(*now)
        finally:
            self._windows.release()

    async def _confirm(self, item: Item) -> Verdict:
        """Judge by a view that is newer than the message; a view that cannot be read again decides nothing."""
        submission = item.submission

        async def read_again() -> Verdict:
            if not await self._view.confirm(_CONFIRM_SECONDS):
                raise BrokerUnavailable("the tenants cannot be read")
            return judge(submission, self._view.tenant(submission.tenant_id), confirmed=True)

        return await persist("tenants", read_again)

    def _delay(self, characters: int) -> float:
        return characters * self._seconds_per_char

    async def _hold(self, delay: float, tenant_id: str, batch: list[Item], started: datetime) -> None:
        await asyncio.sleep(delay)
        task = asyncio.current_task()
        if task is not None:
            task.set_name("store")  # from here on a stopping worker waits for it
        await self._store_batch(tenant_id, batch, started)

    async def _store_batch(self, tenant_id: str, batch: list[Item], started: datetime) -> None:
        async with self._writes:
            config = self._view.tenant(tenant_id)
            if config is None or config.uid != batch[0].submission.uid:
                await self._finish_all(batch, TENANT_UNKNOWN)
                return
            prepared, hits = self._preparers.get(config).prepare(batch, datetime.now(UTC), started)
            for detector, count in hits.items():
                metrics.REDACTIONS.labels(tenant_id, detector).inc(count)
            good = [one for one in prepared if one.failure is None]
            outcomes = await self._write(tenant_id, good) if good else []
        outcomes += [self._graveyard.outcome(one) for one in prepared if one.failure is not None]
        await self._finish(tenant_id, outcomes)

    async def _write(self, tenant_id: str, good: list[Prepared]) -> list[Outcome]:
        while True:
            try:
                return await persist("database", lambda: write(self._store, tenant_id, good), final=(AccessDenied,))
            except AccessDenied:
                # The privilege goes when a tenant's data does, and comes before its config does.
                config = self._view.tenant(tenant_id)
                if config is None or config.state == "gone" or config.uid != good[0].item.submission.uid:
                    return [Outcome(one, TENANT_UNKNOWN) for one in good]
                log.error("this worker may not write to a living tenant's database", extra={"tenant": tenant_id})
                metrics.RETRIES.labels("privilege").inc()
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _finish(self, tenant_id: str, outcomes: list[Outcome]) -> None:
        counts: dict[Reason, int] = defaultdict(int)
        finished: dict[Message, int] = defaultdict(int)
        now = time.time()
        for outcome in outcomes:
            if self._graveyard.takes(outcome.reason):
                await persist("dead letters", partial(self._graveyard.bury, outcome))
            counts[outcome.reason] += 1
            finished[outcome.prepared.item.message] += 1
        for reason, count in counts.items():
            metrics.SETTLED.labels(tenant_id, reason.code).inc(count)
        for submission in {id(s): s for s in (one.prepared.item.submission for one in outcomes)}.values():
            metrics.ACCEPT_TO_STORE.observe(max(0.0, now - submission.received_at / 1e6))
        for message, count in finished.items():
            await self._settle(message, count)

    async def _finish_all(self, batch: list[Item], reason: Reason) -> None:
        for item in batch:
            # The tenant is not known, so its name is not worth a label of its own.
            metrics.SETTLED.labels("", reason.code).inc()
            await self._settle(item.message, 1)

    async def _settle(self, message: Message, count: int) -> None:
        message.unsettled -= count
        if message.unsettled > 0 or message not in self._in_flight:
            return
        self._in_flight.discard(message)
        self._change_bytes(-message.size)
        try:
            await self._lane.acknowledge(message.delivery)
        except BrokerUnavailable:
            return  # delivered again, and found to be stored already
        metrics.ENVELOPES.inc()

    async def _heartbeat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            try:
                for delivery in [*(message.delivery for message in self._in_flight), *self._lane.waiting]:
                    await self._lane.in_progress(delivery)
            except BrokerUnavailable:
                log.warning("the broker got no sign of life; what is in flight may be delivered again")

    def _change_bytes(self, change: int) -> None:
        self._bytes += change
        metrics.IN_FLIGHT_BYTES.set(self._bytes)
        self._room.set()

    def _spawn(self, work: Coroutine[Any, Any, None], name: str = "window") -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # Its messages stay unacknowledged and come again when their time is up.
            log.error("work on a window failed", exc_info=error)
