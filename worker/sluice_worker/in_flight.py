"""The messages a worker holds: how many bytes they are, and what the broker is told about them.

Invariant: a message is acknowledged only when nothing of it is unsettled, and as long as it is held the broker hears
that it is being worked on; one that is let go of is delivered again by itself.
"""

import asyncio
import logging
from typing import Protocol

from sluice_core.edge.lanes import ACK_WAIT_SECONDS
from sluice_core.edge.pull import Delivery
from sluice_core.errors import BrokerUnavailable
from sluice_worker import metrics
from sluice_worker.handle import Message
from sluice_worker.window import Source

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = ACK_WAIT_SECONDS / 3


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


class InFlight:
    """The messages of one worker on one lane, at most about `most_bytes` of them."""

    def __init__(self, lane: Lane, most_bytes: int) -> None:
        self._lane = lane
        self._most_bytes = most_bytes
        self._messages: set[Message] = set()
        self._bytes = 0
        self._changed = asyncio.Event()

    async def room(self) -> int:
        """Wait until there is room; returns for how many bytes."""
        while self._bytes >= self._most_bytes:
            self._changed.clear()
            await self._changed.wait()
        return self._most_bytes - self._bytes

    def add(self, message: Message) -> None:
        """Hold a message from now on."""
        self._messages.add(message)
        self._change_bytes(message.size)
        if message.delivery.delivered > 1:
            metrics.REDELIVERED.inc()

    def let_go(self, message: Message) -> bool:
        """Hold a message no longer; False when it was not held."""
        if message not in self._messages:
            return False
        self._messages.discard(message)
        self._change_bytes(-message.size)
        return True

    async def settle(self, message: Message, count: int) -> None:
        """Say that `count` parts of a message are settled; acknowledges it with the last."""
        message.unsettled -= count
        if message.unsettled > 0 or not self.let_go(message):
            return
        try:
            await self._lane.acknowledge(message.delivery)
        except BrokerUnavailable:
            return  # delivered again, and found to be stored already
        metrics.ENVELOPES.inc()

    async def heartbeat(self) -> None:
        """Keep telling the broker that all of them are being worked on, those no window has taken yet included."""
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            try:
                for delivery in [*(message.delivery for message in self._messages), *self._lane.waiting]:
                    await self._lane.in_progress(delivery)
            except BrokerUnavailable:
                log.warning("the broker got no sign of life; what is in flight may be delivered again")

    async def give_back(self) -> None:
        """Have all of them delivered again, to whoever asks next."""
        for message in list(self._messages):
            await self._lane.give_back(message.delivery)

    def _change_bytes(self, change: int) -> None:
        self._bytes += change
        metrics.IN_FLIGHT_BYTES.set(self._bytes)
        self._changed.set()
