"""Group commit: what makes a durable answer cheap.

Everything that arrives while a commit is in flight goes out in the next envelope, all tenants of the lane together. No
timers: at low load a submission leaves at once, and at high load one disk flush serves hundreds of requests. Invariant:
`commit` returns only after the broker acknowledged every envelope that holds a part of the request.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol

from sluice_core.envelope import decode_envelope, encode_envelope
from sluice_core.errors import BrokerError, BrokerFull, BrokerUnavailable, Refusal
from sluice_core.letter import Letter, letter_headers
from sluice_core.limits import ENVELOPE_BYTES
from sluice_core.names import DLQ_STREAM, lane_stream, lane_subject, parked_subject
from sluice_core.reasons import BROKER_FULL, BROKER_UNAVAILABLE, BUFFERED, SET_ASIDE_FULL
from sluice_core.tenant import TenantConfig
from sluice_ingest.metrics import COMMIT_SECONDS, ENVELOPE_BYTES_SIZES

log = logging.getLogger(__name__)

_WRAPPER = 16
"""More than an envelope adds to its submissions."""


class Destination(NamedTuple):
    """Where submissions go together."""

    subject: str
    stream: str
    set_aside: bool = False
    """Among one tenant's parked records, as a letter; its stream has a cap for each tenant."""


@lru_cache(maxsize=4096)
def lane_destination(lane: str) -> Destination:
    """The lane's stream."""
    return Destination(lane_subject(lane), lane_stream(lane))


def destination_of(tenant: TenantConfig) -> Destination:
    """Where this tenant's submissions go now: its lane, or while it is buffered its own parked records."""
    if tenant.suspension == "Buffer":
        return Destination(parked_subject(tenant.tenant_id), DLQ_STREAM, set_aside=True)
    return lane_destination(tenant.lane)


def buffered_letter(payload: bytes) -> Letter:
    """What the headers of an envelope of one buffered tenant say."""
    submissions = decode_envelope(payload).submissions
    first = submissions[0]
    return Letter(
        tenant_id=first.tenant_id,
        reason=BUFFERED.code,
        log_id=first.log_id(0),
        records=sum(len(submission.records) for submission in submissions),
        uid=first.uid,
        request_id=first.request_id,
        source=first.source,
        received_at=first.received_at,
        attempts=0,
    )


class Publisher(Protocol):
    """The one thing group commit needs of a broker."""

    async def publish(
        self, subject: str, payload: bytes, *, stream: str, timeout: float, headers: dict[str, str] | None = None
    ) -> int:
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
    """All commits of this process. Everything runs on one event loop."""

    def __init__(
        self,
        publisher: Publisher,
        *,
        in_flight: int,
        publish_timeout: float,
    ) -> None:
        self._publisher = publisher
        self._in_flight = in_flight
        self._publish_timeout = publish_timeout
        self.queued_bytes = 0
        """Encoded submissions that wait for a commit."""
        self._queues: dict[Destination, _Queue] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def commit(self, destination: Destination, submissions: Sequence[bytes], deadline: float) -> None:
        """Make the submissions durable, or say by `deadline` (of the event loop's clock) that it did not work.

        How much may wait is not decided here: each request holds its bytes of the process's budget until it is over.
        Raises Refusal: BROKER_FULL, for a buffered tenant SET_ASIDE_FULL, when the stream is at its limit (nothing of
        the last envelope was stored), BROKER_UNAVAILABLE when it is not known.
        """
        if not submissions:
            return
        size = sum(map(len, submissions))
        loop = asyncio.get_running_loop()
        ticket = _Ticket(len(submissions), deadline - self._publish_timeout, loop.create_future())
        if ticket.deadline < loop.time():  # in the queue it would be found out only when the commit in flight is done
            raise Refusal(BROKER_UNAVAILABLE)
        queue = self._queues.setdefault(destination, _Queue())
        queue.waiting.extend((submission, ticket) for submission in submissions)
        queue.size += size
        self.queued_bytes += size
        self._pump(destination, queue)
        try:
            await ticket.done
        except BrokerFull:
            raise Refusal(SET_ASIDE_FULL if destination.set_aside else BROKER_FULL) from None
        except BrokerError:
            raise Refusal(BROKER_UNAVAILABLE) from None

    async def drain(self) -> None:
        """Wait until nothing is waiting or in flight."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _pump(self, destination: Destination, queue: "_Queue") -> None:
        # Another commit beside one in flight only for a full envelope: many small ones would cost more than they gain.
        while queue.waiting and (
            queue.in_flight == 0 or (queue.size >= ENVELOPE_BYTES and queue.in_flight < self._in_flight)
        ):
            batch = self._take(queue)
            if batch:
                queue.in_flight += 1
                task = asyncio.get_running_loop().create_task(self._publish(destination, queue, batch))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def _take(self, queue: "_Queue") -> list[tuple[bytes, _Ticket]]:
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

    async def _publish(self, destination: Destination, queue: "_Queue", batch: list[tuple[bytes, _Ticket]]) -> None:
        payload = encode_envelope([submission for submission, _ in batch])
        ENVELOPE_BYTES_SIZES.observe(len(payload))
        try:
            with COMMIT_SECONDS.time():
                await self._publisher.publish(
                    destination.subject,
                    payload,
                    stream=destination.stream,
                    timeout=self._publish_timeout,
                    headers=letter_headers(buffered_letter(payload)) if destination.set_aside else None,
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
            self._pump(destination, queue)


class _Queue:
    """What waits for one destination, and how many commits to it are in flight."""

    __slots__ = ("in_flight", "size", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[tuple[bytes, _Ticket]] = deque()
        self.size = 0
        self.in_flight = 0
