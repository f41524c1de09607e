"""The worker's loop: time, redelivery and patience, around the pure parts.

It takes what the lane has as far as its bytes in flight reach, hands each tenant's part to that tenant's turns, and
acknowledges a message when all of it is settled. What a tenant sent faster than it is written waits here, and lets pass
what is behind it. A tenant whose database refuses is parked, so that it holds nobody else; MongoDB being away is waited
out, with signs of life to the broker. Invariant: an acknowledgement is sent only after every record of the message has
its outcome.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Protocol

from sluice_core.errors import BrokerUnavailable
from sluice_core.limits import DEFAULT_LIMITS, MIB
from sluice_worker import metrics
from sluice_worker.aside import Aside
from sluice_worker.circuit import Circuits
from sluice_worker.documents import Prepared
from sluice_worker.handle import Item, Message, Verdict, by_delay, items, judge
from sluice_worker.health import Health
from sluice_worker.in_flight import InFlight, Lane
from sluice_worker.letter_writer import LetterWriter, is_dead
from sluice_worker.patience import persist
from sluice_worker.preparation import Preparation
from sluice_worker.settling import Settling
from sluice_worker.sink import Outcome, Store
from sluice_worker.slots import Slots
from sluice_worker.tenant_writer import CONFIRM_SECONDS, TenantWriter, View
from sluice_worker.turns import NOTHING, Turns

log = logging.getLogger(__name__)

WRITES_PER_TENANT = 1
"""A second one gained nothing, and made others wait for longer: it would keep both cores of a small machine busy."""
_PREPARED_PER_TENANT = WRITES_PER_TENANT + 1
"""One more is prepared while those are written; not all, since a prepared record takes several times its room."""
_IDLE_SECONDS = 1.0
_PAUSE_SECONDS = 0.5
_BEGUN_RECORDS = 256
"""Begun without a pause: about a millisecond. More than are prepared between two pauses, so that what is behind a flood
is soon seen, and turns become large."""
_PULL_MESSAGES = 256
_LEAST_PULL_BYTES = 4 * MIB
"""At least the largest message, or the broker would answer that nothing fits."""

Batch = tuple[str, str]
"""A tenant id and which provisioning of it."""


class Database(Store, Protocol):
    """All the loop asks of MongoDB."""

    async def writable(self) -> bool:
        """Whether MongoDB as a whole takes writes."""
        ...


class Loop:
    """The loop of one worker on one lane."""

    def __init__(
        self,
        lane: Lane,
        view: View,
        store: Database,
        preparation: Preparation,
        letters: LetterWriter,
        *,
        in_flight_bytes: int,
        parallel_writes: int,
        seconds_per_char: float,
        on_finished: Callable[[Message], None] = lambda _: None,
    ) -> None:
        """`on_finished` is called for each message that was acknowledged."""
        self._lane = lane
        self._view = view
        self._preparation = preparation
        self._in_flight = InFlight(lane, in_flight_bytes, on_finished)
        self._settling = Settling(self._in_flight)
        self._aside = Aside(letters, self._in_flight, self._settling, preparation.buried)
        self._health = Health(store.writable)
        self._circuits = Circuits()
        self._writer = TenantWriter(store, view, self._health, self._circuits)
        self._seconds_per_char = seconds_per_char
        self._prepared = Slots(2 * parallel_writes, _PREPARED_PER_TENANT)
        self._writes = Slots(parallel_writes, WRITES_PER_TENANT)
        self._hands = Slots(2 * parallel_writes, 1)
        self._turns = Turns[Batch]()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def idle(self) -> bool:
        """Whether it holds nothing."""
        return self._in_flight.idle

    @property
    def refusing(self) -> list[str]:
        """The living tenants whose database does not take records now."""
        configs = ((tenant_id, self._view.tenant(tenant_id)) for tenant_id in self._circuits.open)
        return [tenant_id for tenant_id, config in configs if config is not None and config.state != "gone"]

    async def run(self) -> None:
        """Pull and process until cancelled; what is in flight then goes on, see `stop`."""
        watching = [asyncio.create_task(self._health.watch()), asyncio.create_task(self._in_flight.heartbeat())]
        try:
            begun = 0
            while True:
                message = await self._pull()
                if message is None:
                    continue
                begun += message.unsettled
                self._begin_message(message)
                if begun >= _BEGUN_RECORDS:
                    begun = 0
                    await asyncio.sleep(0)
        finally:
            for task in watching:
                task.cancel()

    async def stop(self, timeout: float) -> None:
        """After `run` was cancelled: let turns finish for `timeout` seconds and give back what is not finished."""
        self._turns.forget()
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout
        while self._tasks and (left := deadline - clock()) > 0:
            for task in self._tasks:
                if task.get_name() == "hold":
                    task.cancel()
            await asyncio.wait(self._tasks, timeout=left)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._in_flight.give_back()

    async def _pull(self) -> Message | None:
        room = await self._in_flight.room()
        try:
            # What is asked for may take several times its bytes, but only as much of it is begun as there is room for.
            most_bytes = max(room // 4, _LEAST_PULL_BYTES)
            delivery = await self._lane.next(_IDLE_SECONDS, batch=_PULL_MESSAGES, max_bytes=most_bytes)
        except BrokerUnavailable:
            await asyncio.sleep(_PAUSE_SECONDS)
            return None
        if delivery is None or self._in_flight.came_again(delivery):
            return None
        message = Message(delivery)
        self._in_flight.add(message)  # from here on it is given back, also when this is cancelled
        return message

    def _begin_message(self, message: Message) -> None:
        if message.envelope is None:
            self._spawn(partial(self._aside.bury_message, message), [message])
        elif message.unsettled == 0:
            self._spawn(partial(self._in_flight.settle, message, 0), [message])
        known: dict[Batch, list[Item]] = defaultdict(list)
        unsure: dict[Batch, list[Item]] = defaultdict(list)
        for submission, part in items(message):
            verdict = judge(submission, self._view.tenant(submission.tenant_id), confirmed=False)
            batches = known if verdict is Verdict.STORE else unsure
            batches[submission.tenant_id, submission.uid] += part
        doubtful = {tenant_id for tenant_id, _ in unsure}
        for key in [key for key in known if key[0] in doubtful]:  # two provisionings: only one can be the living
            unsure[key] = known.pop(key)
        now = datetime.now(UTC)
        for key, batch in known.items():
            self._begin(key, batch, now)
        for key, batch in unsure.items():
            self._spawn(partial(self._confirm, key, batch, now), [message])

    def _begin(self, key: Batch, batch: list[Item], started: datetime) -> None:
        """Start on a batch of a tenant that is known."""
        for delay, group in by_delay(batch, self._seconds_per_char).items():
            if delay:
                self._spawn(partial(self._hold, delay, key, group, started), _messages(group), name="hold")
            else:
                self._wait_for_turn(key, group, started)

    async def _confirm(self, key: Batch, batch: list[Item], started: datetime) -> None:
        """Judge by a view that is newer than the message; a view that cannot be read again decides nothing."""
        if not batch:
            return
        submission = batch[0].submission

        async def read_again() -> Verdict:
            if not await self._view.confirm(CONFIRM_SECONDS):
                raise BrokerUnavailable("the tenants cannot be read")
            return judge(submission, self._view.tenant(submission.tenant_id), confirmed=True)

        if await persist("tenants", read_again) is Verdict.STORE:
            self._begin(key, batch, started)
        else:
            await self._settling.discarded(batch)

    async def _hold(self, delay: float, key: Batch, batch: list[Item], started: datetime) -> None:
        await asyncio.sleep(delay)
        self._wait_for_turn(key, batch, started)

    def _wait_for_turn(self, key: Batch, batch: list[Item], started: datetime) -> None:
        if not self._may_ask(key):  # before waiting for a place behind calls that hang
            self._park(key[0], batch)
        elif self._turns.add(key, batch, started, time.monotonic()):
            self._call_for_turn(key, 0.0)

    def _call_for_turn(self, key: Batch, pause: float) -> None:
        if pause:
            asyncio.get_running_loop().call_later(pause, self._call_for_turn, key, 0.0)
        else:
            self._spawn(partial(self._take_turn, key), ())

    async def _take_turn(self, key: Batch) -> None:
        (tenant_id, _), turn = key, NOTHING
        async with self._prepared.of(tenant_id):
            try:
                async with self._hands.of(tenant_id):
                    limits = DEFAULT_LIMITS if (config := self._view.tenant(tenant_id)) is None else config.limits
                    turn = self._turns.begin(key, limits, time.monotonic(), self._in_flight.full)
                    if turn.more:
                        self._call_for_turn(key, turn.pause)
                    prepared = [] if turn.since is None else await self._prepare(key, turn.items, turn.since)
                if prepared:
                    await self._store(key, prepared)
                    self._turns.stored(turn, time.monotonic())
            except Exception:
                self._give_up(_messages(turn.items))
                raise

    async def _prepare(self, key: Batch, batch: list[Item], started: datetime) -> list[Prepared]:
        """The records of a turn; none when they are discarded or parked."""
        tenant_id, uid = key
        config = self._view.tenant(tenant_id)
        if config is None or config.uid != uid:
            await self._settling.discarded(batch)
            return []
        if not self._may_ask(key):
            self._park(tenant_id, batch)
            return []
        return await self._preparation.prepare_in_slices(config, batch, started)

    async def _store(self, key: Batch, prepared: list[Prepared]) -> None:
        tenant_id, _ = key
        outcomes = [Outcome(one, *one.failure) for one in prepared if one.failure is not None]
        good = [one for one in prepared if one.failure is None] if outcomes else prepared
        if good:
            outcomes += await self._write(key, good)
        dead = [outcome for outcome in outcomes if is_dead(outcome.reason)]
        if dead:
            self._spawn(partial(self._aside.bury, tenant_id, dead), _messages(one.prepared.item for one in dead))
            outcomes = [outcome for outcome in outcomes if not is_dead(outcome.reason)]
        await self._settling.outcomes(tenant_id, outcomes)

    def _give_up(self, messages: Iterable[Message]) -> None:
        """Without signs of life the broker delivers them again when its waiting time is over."""
        for message in messages:
            self._in_flight.let_go(message)

    async def _write(self, key: Batch, good: list[Prepared]) -> list[Outcome]:
        """The outcomes of records that were written; none when they are parked instead."""
        tenant_id, _ = key
        async with self._writes.of(tenant_id):
            if self._may_ask(key):
                self._circuits.ask(tenant_id, asyncio.get_running_loop().time())
                metrics.WRITE_RECORDS.observe(len(good))
                outcomes = await self._writer.write(tenant_id, good)
                if outcomes is not None:
                    return outcomes
        self._park(tenant_id, [one.item for one in good])
        return []

    def _may_ask(self, key: Batch) -> bool:
        """Nothing of a tenant that is gone is parked without asking: its database says whether it is discarded."""
        tenant_id, uid = key
        config = self._view.tenant(tenant_id)
        gone = config is None or config.uid != uid or config.state == "gone"
        return gone or self._circuits.may_ask(tenant_id, asyncio.get_running_loop().time())

    def _park(self, tenant_id: str, batch: list[Item]) -> None:
        detail = self._circuits.detail(tenant_id)
        self._spawn(partial(self._aside.park, tenant_id, batch, detail), _messages(batch))

    def _spawn(self, work: Callable[[], Awaitable[None]], messages: Sequence[Message], name: str = "work") -> None:
        task = asyncio.create_task(self._guard(work, messages), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guard(self, work: Callable[[], Awaitable[None]], messages: Sequence[Message]) -> None:
        try:
            await work()
        except Exception:  # a bug; what it was working on must neither be lost nor be kept from coming again
            log.exception("work on a message failed")
            self._give_up(messages)


def _messages(batch: Iterable[Item]) -> list[Message]:
    return list(dict.fromkeys(item.message for item in batch))
