"""Setting records aside: dead letters and parked ones, written for as long as it takes, or put off.

Invariant: a record is settled only after the broker has its letter; and where the broker has no room for more of a
tenant's letters, the tenant's messages are given back for a while instead of being held.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial

from sluice_core.errors import BrokerFull, MessageTooLarge
from sluice_core.limits import ENVELOPE_BYTES
from sluice_core.reasons import STORE_REFUSES
from sluice_worker import metrics
from sluice_worker.handle import Item, Message
from sluice_worker.in_flight import InFlight
from sluice_worker.letter_writer import LetterWriter
from sluice_worker.packing import pack
from sluice_worker.patience import persist
from sluice_worker.settling import Settling
from sluice_worker.sink import Outcome

log = logging.getLogger(__name__)

LETTER_SECONDS = 1.0
"""A tenant that sends little gets a parked letter this often at most: its letters are counted, and capped."""


class _Heap:
    """Records of one tenant that will be parked together."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.detail = ""
        self.full = asyncio.Event()
        self._characters = 0

    def add(self, batch: Sequence[Item], detail: str) -> None:
        self.items += batch
        self.detail = detail
        self._characters += sum(len(item.submission.records[item.position].text) for item in batch)
        if self._characters >= ENVELOPE_BYTES:
            self.full.set()


class Aside:
    """Sets aside what messages in flight hold."""

    def __init__(
        self,
        letters: LetterWriter,
        in_flight: InFlight,
        settling: Settling,
        on_buried: Callable[[Outcome], None] = lambda _: None,
    ) -> None:
        """`on_buried` is called for each record whose dead letter the broker has."""
        self._letters = letters
        self._in_flight = in_flight
        self._settling = settling
        self._on_buried = on_buried
        self._heaps: dict[str, _Heap] = {}
        self._next_letter: dict[str, float] = {}

    async def bury(self, tenant_id: str, dead: Sequence[Outcome]) -> None:
        """Make records dead letters, one each."""
        for number, outcome in enumerate(dead):
            if not self._in_flight.holds(outcome.prepared.item.message):
                continue
            if not await self._write(partial(self._letters.bury, outcome)):
                await self._put_off(tenant_id, (one.prepared.item.message for one in dead[number:]))
                return
            self._on_buried(outcome)
            await self._settling.outcomes(tenant_id, [outcome])

    async def park(self, tenant_id: str, batch: Sequence[Item], detail: str) -> None:
        """Park records of one tenant, as many in a letter as fit; maybe by the call that is collecting already."""
        if (heap := self._heaps.get(tenant_id)) is not None:
            heap.add(batch, detail)
            return
        heap = self._heaps[tenant_id] = _Heap()
        heap.add(batch, detail)
        try:
            await self._collect(tenant_id, heap)
        finally:
            del self._heaps[tenant_id]  # what comes from now on is for the next letter
        try:
            await self._park(tenant_id, heap)
        except Exception:
            for item in heap.items:  # others' too: they rely on this call
                self._in_flight.let_go(item.message)
            raise

    async def _collect(self, tenant_id: str, heap: _Heap) -> None:
        clock = asyncio.get_running_loop().time
        wait = self._next_letter.get(tenant_id, 0.0) - clock()
        if wait > 0:
            try:
                async with asyncio.timeout(wait):
                    await heap.full.wait()
            except TimeoutError:
                pass
        self._next_letter[tenant_id] = clock() + LETTER_SECONDS

    async def _park(self, tenant_id: str, heap: _Heap) -> None:
        held = [item for item in heap.items if self._in_flight.holds(item.message)]
        for letter in pack(held):
            submissions = [submission for submission, _ in letter]
            if not await self._write(partial(self._letters.park, submissions, heap.detail)):
                # What was parked before is found to be a duplicate when both come back.
                await self._put_off(tenant_id, (item.message for item in held))
                return
            parked = [item for _, part in letter for item in part]
            await self._settling.parked(tenant_id, parked, STORE_REFUSES, heap.detail)

    async def bury_message(self, message: Message) -> None:
        """Keep a message that is no envelope, whole."""
        if await self._write(partial(self._letters.bury_message, message)):
            await self._settling.unreadable(message)
        else:
            await self._put_off("", [message])

    async def _write(self, attempt: Callable[[], Awaitable[None]]) -> bool:
        """Whether the broker has the letter; False: it has no room for it."""
        try:
            await persist("letters", attempt, final=(BrokerFull, MessageTooLarge))
        except (BrokerFull, MessageTooLarge) as error:
            log.warning("a letter has no room", extra={"error": str(error)})
            return False
        return True

    async def _put_off(self, tenant_id: str, messages: Iterable[Message]) -> None:
        for message in dict.fromkeys(messages):
            if self._in_flight.holds(message):
                metrics.DEFERRED.labels(tenant_id).inc()
                await self._in_flight.put_off(message)
