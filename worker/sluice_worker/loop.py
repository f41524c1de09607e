"""The worker's loop: time, redelivery and patience, around the pure parts.

It pulls a window, hands each tenant's part to the sink, and acknowledges a message when all of it is settled. Whatever
does not answer now is tried again, with signs of life to the broker meanwhile, so nothing is given up and nothing is
acknowledged early. Invariant: an acknowledgement is sent only after every record of the message has its outcome.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol

from sluice_core.errors import AccessDenied, BrokerUnavailable
from sluice_core.reasons import TENANT_UNKNOWN, Reason
from sluice_core.tenant import TenantConfig
from sluice_redact import PolicyError
from sluice_worker import metrics
from sluice_worker.documents import Prepared, refuse
from sluice_worker.graveyard import Graveyard
from sluice_worker.handle import Item, Message, Verdict, by_delay, items, judge
from sluice_worker.in_flight import InFlight, Lane
from sluice_worker.patience import persist
from sluice_worker.preparers import Preparers
from sluice_worker.sink import Outcome, Store, write
from sluice_worker.window import pull_window

log = logging.getLogger(__name__)

_CONFIRM_SECONDS = 5.0
_PAUSE_SECONDS = 0.5


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
        self._in_flight = InFlight(lane, in_flight_bytes)
        self._seconds_per_char = seconds_per_char
        self._windows = asyncio.Semaphore(parallel_windows)
        self._writes = asyncio.Semaphore(parallel_writes)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Pull and process until cancelled; what is in flight then goes on, see `stop`."""
        heartbeat = asyncio.create_task(self._in_flight.heartbeat())
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
                    self._spawn(self._process(window), window)
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
        await self._in_flight.give_back()

    async def _pull(self) -> list[Message]:
        room = await self._in_flight.room()
        window: list[Message] = []
        try:
            await pull_window(self._lane, room, window)
        except BrokerUnavailable:
            await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            for message in window:  # also when cancelled in the middle: what was pulled must be given back
                self._in_flight.add(message)
        return window

    async def _process(self, window: list[Message]) -> None:
        try:
            batches: dict[tuple[str, str], list[Item]] = defaultdict(list)
            for message in window:
                if message.envelope is None:
                    self._spawn(self._bury_message(message), [message], name="bury")
                    continue
                if message.unsettled == 0:
                    await self._in_flight.settle(message, 0)
                for submission, part in items(message):
                    verdict = judge(submission, self._view.tenant(submission.tenant_id), confirmed=False)
                    if verdict is Verdict.UNSURE:
                        verdict = await self._confirm(part[0]) if part else Verdict.DISCARD
                    if verdict is Verdict.STORE:
                        batches[submission.tenant_id, submission.uid] += part
                    else:
                        await self._finish_all(part, TENANT_UNKNOWN)
            metrics.WINDOW_RECORDS.observe(sum(map(len, batches.values())))
            started = datetime.now(UTC)
            now = []
            for (tenant_id, _), batch in batches.items():
                for delay, group in by_delay(batch, self._seconds_per_char).items():
                    if delay:
                        held = [item.message for item in group]
                        self._spawn(self._hold(delay, tenant_id, group, started), held, name="hold")
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
            try:
                preparer = self._preparers.get(config)
            except PolicyError as error:  # of another release: what cannot be redacted must not be stored
                prepared = refuse(batch, error)
                hits: dict[str, int] = {}
            else:
                prepared, hits = preparer.prepare(batch, datetime.now(UTC), started)
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
        dead = [outcome for outcome in outcomes if self._graveyard.takes(outcome.reason)]
        if dead:
            # On its own: a tenant whose dead letters are full must not hold a window that others wait for.
            self._spawn(self._bury(tenant_id, dead), [one.prepared.item.message for one in dead], name="bury")
            outcomes = [outcome for outcome in outcomes if not self._graveyard.takes(outcome.reason)]
        await self._settle_all(tenant_id, outcomes)

    async def _bury(self, tenant_id: str, dead: list[Outcome]) -> None:
        for outcome in dead:
            await persist("dead letters", partial(self._graveyard.bury, outcome))
        await self._settle_all(tenant_id, dead)

    async def _bury_message(self, message: Message) -> None:
        await persist("dead letters", partial(self._graveyard.bury_message, message))
        await self._in_flight.settle(message, 1)

    async def _settle_all(self, tenant_id: str, outcomes: list[Outcome]) -> None:
        counts: dict[str, int] = defaultdict(int)
        finished: dict[Message, int] = defaultdict(int)
        now = time.time()
        for outcome in outcomes:
            counts[outcome.reason.code] += 1
            finished[outcome.prepared.item.message] += 1
        for code, count in counts.items():
            metrics.SETTLED.labels(tenant_id, code).inc(count)
        for submission in {id(s): s for s in (one.prepared.item.submission for one in outcomes)}.values():
            metrics.ACCEPT_TO_STORE.observe(max(0.0, now - submission.received_at / 1e6))
        for message, count in finished.items():
            await self._in_flight.settle(message, count)

    async def _finish_all(self, batch: list[Item], reason: Reason) -> None:
        for item in batch:
            # The tenant is not known, so its name is not worth a label of its own.
            metrics.SETTLED.labels("", reason.code).inc()
            await self._in_flight.settle(item.message, 1)

    def _spawn(self, work: Coroutine[Any, Any, None], messages: Sequence[Message], name: str = "window") -> None:
        task = asyncio.create_task(self._guard(work, messages), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guard(self, work: Coroutine[Any, Any, None], messages: Sequence[Message]) -> None:
        try:
            await work
        except Exception:  # a bug; what it was working on must neither be lost nor be kept from coming again
            log.exception("work on a window failed")
            for message in messages:
                # Without signs of life the broker delivers it again when its waiting time is over.
                self._in_flight.let_go(message)
