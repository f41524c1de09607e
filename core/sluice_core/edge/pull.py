"""Pulling envelopes from a lane's consumer.

nats-py's `fetch` cannot bound bytes, hides errors and leaves requests behind on the server; this asks for itself, with
short requests that heal by themselves after a lost connection. Invariant: at most one request is open, and every
message it brought is handed out or given back.
"""

import asyncio
from collections import deque
from contextlib import suppress

import msgspec
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from sluice_core.edge.broker import Broker, Msg
from sluice_core.errors import BrokerUnavailable
from sluice_core.names import WORKERS, lane_stream

EXPIRES_SECONDS = 2.0
"""Life of one request: also the longest time that a request lost with its connection goes unnoticed."""
_GRACE_SECONDS = 1.0
_PROGRESS = b"+WPI"
_ACK = b"+ACK"
_NAK = b"-NAK"


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """One delivered message and where it stands in the stream."""

    payload: bytes
    reply: str
    stream: str
    delivered: int
    sequence: int
    time: int
    """When the broker took it: nanoseconds since the epoch."""


def read_delivery(message: Msg) -> Delivery | None:
    """The delivery in a message, None for what the broker says about the request itself.

    The reply subject is `$JS.ACK.<stream>.<consumer>.<delivered>.<sequence>.<consumer sequence>.<time>.<pending>`, with
    `<domain>.<account hash>` after `$JS.ACK` in servers that put it there (nats-server ADR-15).
    """
    tokens = message.reply.split(".")
    if len(tokens) < 9 or tokens[:2] != ["$JS", "ACK"]:
        return None
    if len(tokens) > 9:
        tokens = tokens[:2] + tokens[4:]
    return Delivery(message.data, message.reply, tokens[2], int(tokens[4]), int(tokens[5]), int(tokens[7]))


class Puller:
    """The open request of one worker on one lane."""

    def __init__(self, broker: Broker, lane: str) -> None:
        self._broker = broker
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{lane_stream(lane)}.{WORKERS}"
        self._inbox = broker.new_inbox()
        self._arrived: deque[Delivery] = deque()
        self._news = asyncio.Event()
        self._subscription: Subscription | None = None
        self._open_until = 0.0
        self._left = 0
        self._nothing_waits = False

    @property
    def waiting(self) -> tuple[Delivery, ...]:
        """Messages that arrived and were not handed out yet."""
        return tuple(self._arrived)

    @property
    def nothing_waits(self) -> bool:
        """Whether the broker's last answer was that there is nothing to hand out."""
        return self._nothing_waits

    async def start(self) -> None:
        """Listen; nothing is asked for yet."""
        self._subscription = await self._broker.subscribe(self._inbox, self._take)

    async def next(self, timeout: float, *, batch: int, max_bytes: int) -> Delivery | None:
        """The next message, asking for up to `batch` more when no request is open; None after `timeout` seconds.

        Raises BrokerUnavailable while disconnected.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while not self._arrived:
            if self._left <= 0 or loop.time() >= self._open_until:
                await self._ask(batch, max_bytes)
            wait = min(deadline, self._open_until) - loop.time()
            if loop.time() >= deadline:
                return None
            self._news.clear()
            try:
                async with asyncio.timeout(max(wait, 0.001)):
                    await self._news.wait()
            except TimeoutError:
                continue
        return self._arrived.popleft()

    async def stop(self) -> None:
        """Take back the open request and return what arrived and was not handed out, so that another worker gets it."""
        if self._subscription is not None:
            # Without interest the broker drops the request; what it sent before that still arrives, and is given back.
            with suppress(NatsError, OSError, TimeoutError):
                async with asyncio.timeout(_GRACE_SECONDS):
                    await self._subscription.drain()  # type: ignore[no-untyped-call]
        while self._arrived:
            await self.give_back(self._arrived.popleft())

    async def give_back(self, delivery: Delivery) -> None:
        """Have a message delivered again at once, to whoever asks next."""
        with suppress(BrokerUnavailable):  # without a connection the broker will do so by itself
            await self._broker.send(delivery.reply, _NAK)

    async def put_off(self, delivery: Delivery, seconds: float) -> None:
        """Have a message delivered again when so much time has passed, to whoever asks then."""
        with suppress(BrokerUnavailable):  # without a connection the broker will do so by itself
            await self._broker.send(delivery.reply, _NAK + b' {"delay": %d}' % int(seconds * 1e9))

    async def acknowledge(self, delivery: Delivery) -> None:
        """Finish a message. Lost with the connection it is delivered again, which stores nothing twice."""
        await self._broker.send(delivery.reply, _ACK)

    async def in_progress(self, delivery: Delivery) -> None:
        """Tell the broker that the message is being worked on; starts its waiting time anew."""
        await self._broker.send(delivery.reply, _PROGRESS)

    async def _ask(self, batch: int, max_bytes: int) -> None:
        request = {"batch": batch, "max_bytes": max_bytes, "expires": int(EXPIRES_SECONDS * 1e9)}
        await self._broker.send(self._subject, msgspec.json.encode(request), reply=self._inbox)
        self._left = batch
        self._open_until = asyncio.get_running_loop().time() + EXPIRES_SECONDS + _GRACE_SECONDS

    async def _take(self, message: Msg) -> None:
        delivery = read_delivery(message)
        if delivery is not None:
            self._arrived.append(delivery)
            self._left -= 1
            self._nothing_waits = False
        elif self._describes(message, "Batch Completed"):
            return  # said behind the last message of a request with max_bytes, and counted already
        else:
            # 404 and 408: nothing there in time. 409: limits, or the consumer is gone. 503: no such consumer.
            status = (message.headers or {}).get("Status")
            self._nothing_waits = status in {"404", "408"}
            refused = not self._nothing_waits and not self._describes(message, "MaxBytes")
            # Asking again at once after a refusal would spin; the request's own life is the pause.
            self._left = 1 if refused else 0
        self._news.set()

    @staticmethod
    def _describes(message: Msg, what: str) -> bool:
        return what in ((message.headers or {}).get("Description") or "")
