"""The messages a worker holds: how many bytes they are, and what the broker is told about them.

Invariant: a message is acknowledged only when nothing of it is unsettled, and as long as it is held the broker hears
that it is being worked on; one that is let go of is delivered again by itself.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from sluice_core.edge.lanes import ACK_WAIT_SECONDS, MAX_ACK_PENDING
from sluice_core.edge.pull import Delivery
from sluice_core.errors import BrokerUnavailable
from sluice_worker import metrics
from sluice_worker.handle import Message

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = ACK_WAIT_SECONDS / 3
MOST_MESSAGES = MAX_ACK_PENDING // 4
"""However small they are: beyond the lane's own limit no worker would be given anything."""
PUT_OFF_SECONDS = 30.0
"""Until a message comes again of which a part can be set aside nowhere."""


class Lane(Protocol):
    """The lane's consumer."""

    async def next(self, timeout: float, *, batch: int, max_bytes: int) -> Delivery | None:
        """The next message, asking for up to `batch` of so many bytes together; None when none came in time."""
        ...

    async def acknowledge(self, delivery: Delivery) -> None:
        """Finish a message."""
        ...

    async def in_progress(self, delivery: Delivery) -> None:
        """Ask for more time."""
        ...

    async def give_back(self, delivery: Delivery) -> None:
        """Have it delivered again."""
        ...

    async def put_off(self, delivery: Delivery, seconds: float) -> None:
        """Have it delivered again later."""
        ...

    @property
    def waiting(self) -> tuple[Delivery, ...]:
        """Arrived and not handed out yet."""
        ...


class InFlight:
    """The messages of one worker on one lane, at most about `most_bytes` of memory."""

    def __init__(self, lane: Lane, most_bytes: int, on_finished: Callable[[Message], None] = lambda _: None) -> None:
        """`on_finished` is called for each message that was acknowledged."""
        self._lane = lane
        self._most_bytes = most_bytes
        self._on_finished = on_finished
        self._messages: set[Message] = set()
        self._by_sequence: dict[int, Message] = {}
        self._bytes = 0
        self._changed = asyncio.Event()
        self._put_off_until = float("-inf")

    @property
    def idle(self) -> bool:
        """Whether no message is held, and none was put off that is not due yet."""
        return not self._messages and asyncio.get_running_loop().time() >= self._put_off_until

    def holds(self, message: Message) -> bool:
        """Whether the message is still held: one that is not will come again, or is finished."""
        return message in self._messages

    @property
    def full(self) -> float:
        """How much of the room is in use, of 1."""
        return max(self._bytes / self._most_bytes, len(self._messages) / MOST_MESSAGES)

    async def room(self) -> int:
        """Wait until there is room; returns for how many bytes."""
        while self.full >= 1:
            self._changed.clear()
            await self._changed.wait()
        return self._most_bytes - self._bytes

    def came_again(self, delivery: Delivery) -> bool:
        """Whether its message is held already, and came again for want of a sign of life.

        The broker then waits for an answer to the last delivery, and gets it.
        """
        if delivery.delivered > 1:
            metrics.REDELIVERED.inc()
        held = self._by_sequence.get(delivery.sequence)
        if held is None or held.delivery.time != delivery.time:
            return False
        held.delivery = delivery
        return True

    def add(self, message: Message) -> None:
        """Hold a message from now on."""
        earlier = self._by_sequence.get(message.delivery.sequence)
        if earlier is not None:
            # The stream was made anew: an acknowledgement of the old message would be taken for the new one's.
            self.let_go(earlier)
        self._messages.add(message)
        self._by_sequence[message.delivery.sequence] = message
        self._change_bytes(message.size)

    def let_go(self, message: Message) -> bool:
        """Hold a message no longer; False when it was not held."""
        if message not in self._messages:
            return False
        self._messages.discard(message)
        if self._by_sequence.get(message.delivery.sequence) is message:
            del self._by_sequence[message.delivery.sequence]
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
        self._on_finished(message)

    async def put_off(self, message: Message) -> None:
        """Have a message delivered again later and hold it no longer, so that it takes no room meanwhile."""
        if self.let_go(message):
            self._put_off_until = asyncio.get_running_loop().time() + PUT_OFF_SECONDS
            await self._lane.put_off(message.delivery, PUT_OFF_SECONDS)

    async def heartbeat(self) -> None:
        """Keep telling the broker that all of them are being worked on, those not handed out yet included."""
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
