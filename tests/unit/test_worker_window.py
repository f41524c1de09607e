"""Pulling a window: where it ends, and that nothing pulled is lost."""

import asyncio

import pytest

from sluice_core.edge.pull import Delivery
from sluice_core.envelope import Record
from sluice_core.errors import BrokerUnavailable
from sluice_core.limits import MAX_MESSAGE_BYTES, MIB
from sluice_worker.handle import Message
from sluice_worker.window import (
    IDLE_SECONDS,
    LEAST_RECORDS,
    LINGER_SECONDS,
    RECORDS_PER_TENANT,
    SMALLEST_PULL_BYTES,
    pull_window,
)
from unit.fakes import FakeLane, delivery, envelope, submission
from unit.virtual import now, run, settle


def _message(
    sequence: int, *, count: int = 1, tenants: tuple[str, ...] = ("acme",), pending: int = 1, size: int = 1
) -> Delivery:
    parts = [submission(*[Record(None, "x" * size)] * count, tenant_id=tenant) for tenant in tenants]
    return delivery(envelope(*parts), sequence, pending=pending)


async def _pull(lane: FakeLane, max_bytes: int = 64 * MIB) -> list[int]:
    window: list[Message] = []
    await pull_window(lane, max_bytes, window)
    return [message.delivery.sequence for message in window]


def test_alone_a_message_is_a_window_at_once() -> None:
    async def main() -> None:
        lane = FakeLane()
        lane.put(_message(1, pending=0))
        assert await _pull(lane) == [1]
        assert now() == 0

    run(main())


def test_a_window_ends_when_nothing_more_waits_at_the_broker() -> None:
    async def main() -> None:
        lane = FakeLane()
        lane.put(_message(1, pending=2), _message(2, pending=1), _message(3, pending=0), _message(4))
        assert await _pull(lane) == [1, 2, 3]
        assert now() == 0

    run(main())


def test_a_window_of_nothing_ends_after_a_while() -> None:
    async def main() -> None:
        assert await _pull(FakeLane()) == []
        assert now() == IDLE_SECONDS

    run(main())


def test_a_window_waits_a_little_for_more_that_was_announced() -> None:
    async def main() -> None:
        lane = FakeLane()
        lane.put(_message(1))
        asyncio.get_running_loop().call_later(LINGER_SECONDS / 2, lane.put, _message(2))
        assert await _pull(lane) == [1, 2]
        assert now() == pytest.approx(LINGER_SECONDS)

    run(main())


def test_the_little_counts_from_the_first_message() -> None:
    async def main() -> None:
        lane = FakeLane()
        loop = asyncio.get_running_loop()
        for number in range(1, 20):
            loop.call_later(0.5 + number * 0.03, lane.put, _message(number))
        assert await _pull(lane) == [1, 2, 3, 4]
        assert now() == pytest.approx(0.53 + LINGER_SECONDS)

    run(main())


def test_a_window_of_few_tenants_ends_at_512_records() -> None:
    async def main() -> None:
        for tenants in (("acme",), ("acme", "beta")):
            lane = FakeLane()
            lane.put(*(_message(number, count=128 // len(tenants), tenants=tenants) for number in range(1, 10)))
            assert await _pull(lane) == [1, 2, 3, 4]
        assert LEAST_RECORDS == 512

    run(main())


def test_a_window_of_many_tenants_ends_at_64_records_for_each_of_them() -> None:
    async def main() -> None:
        lane = FakeLane()
        tenants = tuple(f"t{number}" for number in range(16))
        lane.put(*(_message(number, count=16, tenants=tenants) for number in range(1, 10)))
        assert await _pull(lane) == [1, 2, 3, 4]
        lane = FakeLane()
        lane.put(
            *(_message(number, count=32, tenants=(f"t{number}",)) for number in range(1, 30)), _message(30, pending=0)
        )
        assert await _pull(lane) == list(range(1, 31))
        assert RECORDS_PER_TENANT == 64

    run(main())


def test_a_message_of_many_records_is_not_cut() -> None:
    async def main() -> None:
        lane = FakeLane()
        lane.put(_message(1, count=2000), _message(2))
        assert await _pull(lane) == [1]

    run(main())


def test_a_window_ends_at_its_bytes() -> None:
    async def main() -> None:
        lane = FakeLane()
        lane.put(*(_message(number, size=MIB) for number in range(1, 10)))
        assert await _pull(lane, max_bytes=3 * MIB) == [1, 2, 3]

    run(main())


def test_what_is_asked_for_shrinks_with_the_room_but_never_below_the_largest_message() -> None:
    async def main() -> None:
        lane = FakeLane()
        lane.put(*(_message(number, size=MIB) for number in range(1, 10)))
        await _pull(lane, max_bytes=6 * MIB)
        rooms = [room for _, _, room in lane.requests]
        assert rooms[0] == 6 * MIB
        assert rooms == sorted(rooms, reverse=True)
        assert min(rooms) == SMALLEST_PULL_BYTES > MAX_MESSAGE_BYTES

    run(main())


def test_messages_that_cannot_be_read_end_a_window_too() -> None:
    async def main() -> None:
        lane = FakeLane()
        lane.put(*(delivery(b"\xc1", number, pending=1) for number in range(1, 1000)))
        assert len(await _pull(lane)) == LEAST_RECORDS

    run(main())


def test_empty_envelopes_end_with_the_time() -> None:
    async def main() -> None:
        lane = FakeLane()
        lane.put(*(_message(number, count=0) for number in range(1, 5)))
        assert await _pull(lane) == [1, 2, 3, 4]
        assert now() == pytest.approx(LINGER_SECONDS)

    run(main())


def test_who_is_cancelled_keeps_what_was_pulled() -> None:
    async def main() -> None:
        lane = FakeLane()
        lane.put(_message(1), _message(2))
        window: list[Message] = []
        pulling = asyncio.create_task(pull_window(lane, 64 * MIB, window))
        await settle()
        pulling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pulling
        assert [message.delivery.sequence for message in window] == [1, 2]

    run(main())


def test_a_lost_connection_keeps_what_was_pulled() -> None:
    async def main() -> None:
        lane = FakeLane()
        lane.put(_message(1))
        window: list[Message] = []
        with pytest.raises(BrokerUnavailable):
            await pull_window(_Losing(lane), 64 * MIB, window)
        assert [message.delivery.sequence for message in window] == [1]

    run(main())


class _Losing:
    """A lane whose connection is lost after the first message."""

    def __init__(self, lane: FakeLane) -> None:
        self._lane = lane

    async def next(self, timeout: float, *, batch: int, max_bytes: int) -> Delivery | None:
        if self._lane.queue.empty():
            raise BrokerUnavailable("not connected to the broker")
        return await self._lane.next(timeout, batch=batch, max_bytes=max_bytes)
