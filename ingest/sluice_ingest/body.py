"""Reading a request's body: never more of it than was leased before, and never for ever.

Invariants: what a body may still bring is leased before it is asked for, so bytes that nobody answers for are at most
one network read a connection; a body that is not whole in time, or when the process stops, is refused, and one that
is there already costs no timer.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, MutableMapping
from contextlib import suppress
from typing import Any

from sluice_core.errors import Refusal
from sluice_core.limits import KIB, MIB
from sluice_core.reasons import BODY_TIMEOUT, BODY_TOO_LARGE, DRAINING, TRUNCATED_BODY, Reason
from sluice_ingest.budget import Lease

Message = MutableMapping[str, Any]
Receive = Callable[[], Coroutine[Any, Any, Message]]
Send = Callable[[Message], Awaitable[None]]

READ_AHEAD = 64 * KIB
"""What a connection may have read before anybody asks for it; a body of unknown length has this leased in advance."""

_TICK_SECONDS = 0.25
"""How exact a deadline is: one timer serves all bodies that are being read."""
_MOST_DISCARDED = 16 * MIB
_DISCARD_SECONDS = 2.0


class BodyReader:
    """Reads the bodies of all requests of this process, each within `timeout` seconds."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._late: Reason = BODY_TIMEOUT
        self._open: dict[asyncio.Timeout, float] = {}
        """Reads that are under way and when they end; all take as long, so the first begun ends first."""
        self._timer: asyncio.TimerHandle | None = None

    async def read(self, receive: Receive, content_length: int | None, limit: int, lease: Lease) -> bytes:
        """The whole body, of at most `limit` bytes; the lease then covers it.

        Raises Refusal: BODY_TOO_LARGE and OVERLOADED, with the body unread where its length was announced,
        TRUNCATED_BODY, BODY_TIMEOUT, and DRAINING once `hurry` was called.
        """
        if content_length is not None and content_length > limit:
            raise Refusal(BODY_TOO_LARGE, f"The body has {content_length} bytes; {limit} are allowed.")
        lease.resize(READ_AHEAD if content_length is None else content_length)
        receiving = receive()
        try:
            pending = receiving.send(None)
        except StopIteration as done:  # the first part is here already, and it is usually the whole
            message: Message = done.value
            if not message.get("more_body", False):
                return _whole(message, content_length, limit, lease)
            first: Awaitable[Message] = _done(message)
        else:
            first = _Begun(receiving, pending)
        bound = asyncio.timeout(None)
        try:
            async with bound:
                self._begin(bound)
                try:
                    return await _read(first, receive, content_length, limit, lease)
                finally:
                    self._open.pop(bound, None)
        except TimeoutError:
            raise Refusal(self._late) from None

    def hurry(self, seconds: float) -> None:
        """The process stops: bodies have so long to be whole from now on, and are refused with DRAINING then."""
        self._late = DRAINING
        self._timeout = min(self._timeout, seconds)
        latest = asyncio.get_running_loop().time() + self._timeout
        self._open = {bound: min(end, latest) for bound, end in self._open.items()}

    def _begin(self, bound: asyncio.Timeout) -> None:
        loop = asyncio.get_running_loop()
        self._open[bound] = loop.time() + self._timeout
        if self._timer is None:
            self._timer = loop.call_later(_TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for bound, end in list(self._open.items()):
            if end > now:
                break
            del self._open[bound]
            bound.reschedule(now)
        self._timer = loop.call_later(_TICK_SECONDS, self._tick) if self._open else None


class _Begun:
    """A coroutine that has been started by hand, and waits for `pending`."""

    def __init__(self, coroutine: Coroutine[Any, Any, Message], pending: Any) -> None:
        self._coroutine = coroutine
        self._pending = pending

    def __await__(self) -> Generator[Any, Any, Message]:
        coroutine, pending = self._coroutine, self._pending
        try:
            while True:
                try:
                    value = yield pending
                except BaseException as error:  # noqa: BLE001 - it is the coroutine's to catch
                    pending = coroutine.throw(error)
                else:
                    pending = coroutine.send(value)
        except StopIteration as done:
            message: Message = done.value
            return message


async def _done(message: Message) -> Message:
    return message


def _whole(message: Message, content_length: int | None, limit: int, lease: Lease) -> bytes:
    """The body that came in one part."""
    if message["type"] == "http.disconnect":
        raise Refusal(TRUNCATED_BODY)
    body: bytes = message.get("body", b"")
    if len(body) > limit:
        raise Refusal(BODY_TOO_LARGE, f"The body exceeds {limit} bytes.")
    if content_length is None:
        lease.resize(len(body))
    return body


async def _read(
    begun: Awaitable[Message], receive: Receive, content_length: int | None, limit: int, lease: Lease
) -> bytes:
    message = await begun
    more: bool = message.get("more_body", False)
    if not more:
        return _whole(message, content_length, limit, lease)
    parts: list[bytes] = [message.get("body", b"")]
    size = len(parts[0])
    while more and size <= limit:
        if content_length is None:
            lease.resize(size + READ_AHEAD)
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal(TRUNCATED_BODY)
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        more = message.get("more_body", False)
    if size > limit:
        raise Refusal(BODY_TOO_LARGE, f"The body exceeds {limit} bytes.")
    if content_length is None:
        lease.resize(size)
    return b"".join(parts)


async def discard_body(receive: Receive) -> None:
    """Read what is left of a body for nothing, within bounds.

    A connection closed with bytes unread is reset, and its sender may then never read the answer that says why.
    """
    left = _MOST_DISCARDED
    with suppress(TimeoutError):
        async with asyncio.timeout(_DISCARD_SECONDS):
            more = True
            while more and left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                more = message.get("more_body", False)
