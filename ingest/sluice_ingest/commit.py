"""Group commit: what makes a durable answer cheap.

Everything that arrives while a commit is in flight goes out in the next envelope, all tenants of the lane together. No
timers: at low load a submission leaves at once, and at high load one disk flush serves hundreds of requests. Invariant:
`commit` returns only after the broker acknowledged every envelope that holds a part of the request.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from sluice_core.envelope import encode_envelope
from sluice_core.errors import BrokerError, BrokerFull, BrokerUnavailable, Refusal
from sluice_core.limits import ENVELOPE_BYTES
from sluice_core.names import lane_stream, lane_subject
from sluice_core.reasons import BROKER_FULL, BROKER_UNAVAILABLE, OVERLOADED
from sluice_ingest.metrics import COMMIT_SECONDS, ENVELOPE_BYTES_SIZES

log = logging.getLogger(__name__)

_WRAPPER = 16
"""More than an envelope adds to its submissions."""


class Publisher(Protocol):
    """The one thing group commit needs of a broker."""

    async def publish(self, subject: str, payload: bytes, *, stream: str, timeout: float) -> int:
        """Publish and wait for the acknowledgement; raises BrokerError."""
        ...


class _Ticket:
    """One request that waits; done when all its submissions are acknowledged, or the first one failed."""

    __slots__ = ("deadline", "done", "left")

    def __init__(self, left: int, deadline: float, done: asyncio.Future[None]) -> None:
        self.left = left
        self.deadline = deadline
        self.done = done

    def succeed(self) -> None:
        self.left -= 1
        if self.left == 0 and not self.done.done():
            self.done.set_result(None)

    def fail(self, error: BrokerError) -> None:
        if not self.done.done():
            self.done.set_exception(error)


class GroupCommit:
    """The commits of all lanes of this process. Everything runs on one event loop."""

    def __init__(
        self,
        publisher: Publisher,
        *,
        in_flight: int,
        publish_timeout: float,
        request_timeout: float,
        max_queued_bytes: int,
    ) -> None:
        self._publisher = publisher
        self._in_flight = in_flight
        self._publish_timeout = publish_timeout
        self._request_timeout = request_timeout
        self._max_queued_bytes = max_queued_bytes
        self.queued_bytes = 0
        """Encoded submissions that wait for a commit."""
        self._lanes: dict[str, _Lane] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def commit(self, lane: str, submissions: Sequence[bytes]) -> None:
        """Make the submissions durable.

        Raises Refusal: OVERLOADED when too much is waiting and BROKER_FULL when the stream is at its limit (nothing of
        the last envelope was stored), BROKER_UNAVAILABLE when it is not known.
        """
        if not submissions:
            return
        size = sum(map(len, submissions))
        # Alone in the queue even one larger than the queue is taken, or it could never be.
        if self.queued_bytes and self.queued_bytes + size > self._max_queued_bytes:
            raise Refusal(OVERLOADED)
        loop = asyncio.get_running_loop()
        ticket = _Ticket(len(submissions), loop.time() + self._request_timeout, loop.create_future())
        queue = self._lanes.setdefault(lane, _Lane())
        queue.waiting.extend((submission, ticket) for submission in submissions)
        queue.size += size
        self.queued_bytes += size
        self._pump(lane, queue)
        try:
            await ticket.done
        except BrokerFull:
            raise Refusal(BROKER_FULL) from None
        except BrokerError:
            raise Refusal(BROKER_UNAVAILABLE) from None

    async def drain(self) -> None:
        """Wait until nothing is waiting or in flight."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _pump(self, lane: str, queue: "_Lane") -> None:
        # Another commit beside one in flight only for a full envelope: many small ones would cost more than they gain.
        while queue.waiting and (
            queue.in_flight == 0 or (queue.size >= ENVELOPE_BYTES and queue.in_flight < self._in_flight)
        ):
            batch = self._take(queue)
            if batch:
                queue.in_flight += 1
                task = asyncio.get_running_loop().create_task(self._publish(lane, queue, batch))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def _take(self, queue: "_Lane") -> list[tuple[bytes, _Ticket]]:
        """The next envelope's submissions, leaving out those whose request has been answered already."""
        now = asyncio.get_running_loop().time()
        batch: list[tuple[bytes, _Ticket]] = []
        size = freed = 0
        while queue.waiting:
            submission, ticket = queue.waiting[0]
            if batch and size + len(submission) > ENVELOPE_BYTES - _WRAPPER:
                break
            queue.waiting.popleft()
            freed += len(submission)
            if ticket.deadline < now:
                ticket.fail(BrokerUnavailable("no commit began in time"))
            if not ticket.done.done():
                batch.append((submission, ticket))
                size += len(submission)
        queue.size -= freed
        self.queued_bytes -= freed
        return batch

    async def _publish(self, lane: str, queue: "_Lane", batch: list[tuple[bytes, _Ticket]]) -> None:
        payload = encode_envelope([submission for submission, _ in batch])
        ENVELOPE_BYTES_SIZES.observe(len(payload))
        try:
            with COMMIT_SECONDS.time():
                await self._publisher.publish(
                    lane_subject(lane), payload, stream=lane_stream(lane), timeout=self._publish_timeout
                )
        except BrokerError as error:
            for _, ticket in batch:
                ticket.fail(error)
        except BaseException:
            for _, ticket in batch:
                ticket.fail(BrokerUnavailable("the commit was given up"))
            raise
        else:
            for _, ticket in batch:
                ticket.succeed()
        finally:
            queue.in_flight -= 1
            self._pump(lane, queue)


class _Lane:
    """What waits for a lane, and how many commits of it are in flight."""

    __slots__ = ("in_flight", "size", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[tuple[bytes, _Ticket]] = deque()
        self.size = 0
        self.in_flight = 0
