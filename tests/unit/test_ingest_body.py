"""Reading bodies: never beyond what was leased, never for ever, and without a timer where none is needed."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_core.limits import MIB
from sluice_core.reasons import BODY_TIMEOUT, BODY_TOO_LARGE, DRAINING, OVERLOADED, TRUNCATED_BODY
from sluice_ingest.body import READ_AHEAD, BodyReader, Message, Receive, discard_body
from sluice_ingest.budget import REQUEST_BYTES, Budget
from unit.fakes import refused
from unit.virtual import now, run


class _Client:
    """Sends messages and notes how many were asked for."""

    def __init__(self, *messages: Message) -> None:
        self.messages = list(messages)
        self.received = 0

    async def __call__(self) -> Message:
        self.received += 1
        return self.messages.pop(0)


def _parts(chunks: Sequence[bytes]) -> list[Message]:
    return [
        {"type": "http.request", "body": chunk, "more_body": place < len(chunks) - 1}
        for place, chunk in enumerate(chunks)
    ]


def _read(receive: Receive, limit: int, content_length: int | None = None) -> bytes:
    async def read() -> bytes:
        budget = Budget(MIB, MIB)
        with budget.lease() as lease:
            return await BodyReader(30).read(receive, content_length, limit, lease)

    return run(read())


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=8), st.integers(0, 60))
def test_a_body_is_read_whole_or_refused_as_too_large(chunks: list[bytes], limit: int) -> None:
    whole = b"".join(chunks)
    client = _Client(*_parts(chunks))
    if len(whole) <= limit:
        assert _read(client, limit) == whole
    else:
        with refused(BODY_TOO_LARGE):
            _read(client, limit)


def test_a_body_announced_as_too_large_is_not_read() -> None:
    client = _Client(*_parts([b"x" * 11]))
    with refused(BODY_TOO_LARGE) as caught:
        _read(client, 10, content_length=11)
    assert client.received == 0
    assert "11" in caught.value.detail
    assert "10" in caught.value.detail


def test_reading_stops_as_soon_as_the_limit_is_passed() -> None:
    client = _Client(*_parts([b"x" * 4] * 100))
    with refused(BODY_TOO_LARGE):
        _read(client, 10)
    assert client.received == 3


@pytest.mark.parametrize("before", [[], [b"part"], [b"part", b"", b"more"]])
def test_a_connection_that_ends_early_is_a_truncated_body(before: list[bytes]) -> None:
    messages = [{**message, "more_body": True} for message in _parts(before)]
    with refused(TRUNCATED_BODY):
        _read(_Client(*messages, {"type": "http.disconnect"}), 100)


def test_messages_may_leave_their_fields_out() -> None:
    assert _read(_Client({"type": "http.request"}), 10) == b""
    assert (
        _read(_Client({"type": "http.request", "more_body": True}, {"type": "http.request", "body": b"a"}), 10) == b"a"
    )


def test_a_body_left_unread_is_discarded_to_its_end_or_the_clients() -> None:
    whole = _Client(*_parts([b"a", b"b", b"c"]), {"type": "http.disconnect"})
    run(discard_body(whole))
    assert whole.received == 3
    run(discard_body(_Client({"type": "http.request", "more_body": True}, {"type": "http.disconnect"})))


def test_a_body_without_end_is_not_discarded_without_end() -> None:
    class Endless:
        received = 0

        async def __call__(self) -> Message:
            self.received += 1
            return {"type": "http.request", "body": b"x" * MIB, "more_body": True}

    endless = Endless()
    run(discard_body(endless))
    assert endless.received <= 100

    async def silent() -> Message:
        await asyncio.sleep(3600)
        raise AssertionError("it waited for ever")

    run(discard_body(silent))


# -- the lease -------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 200_000), min_size=1, max_size=8), st.booleans())
def test_whatever_may_come_is_leased_before_it_is_asked_for(sizes: list[int], announced: bool) -> None:
    total = sum(sizes)

    async def read() -> None:
        budget = Budget(4 * MIB, 4 * MIB)
        client = _Client(*_parts([b"x" * size for size in sizes]))
        received = 0

        async def receive() -> Message:
            nonlocal received
            assert budget.held >= (total if announced else received)
            message = await client()
            received += len(message["body"])
            assert announced or message["body"] == b"" or budget.held >= min(received, READ_AHEAD)
            return message

        with budget.lease() as lease:
            body = await BodyReader(30).read(receive, total if announced else None, 4 * MIB, lease)
            assert len(body) == total
            assert budget.held == max(total, REQUEST_BYTES)
        assert budget.held == 0

    run(read())


def test_a_body_for_which_there_is_no_room_is_not_read() -> None:
    async def read(content_length: int | None) -> None:
        budget = Budget(MIB, MIB)
        with budget.lease() as other, budget.lease() as lease:
            other.resize(MIB - REQUEST_BYTES)
            client = _Client(*_parts([b"x"]))
            with refused(OVERLOADED):
                await BodyReader(30).read(client, content_length, MIB, lease)
            assert client.received == 0

    run(read(REQUEST_BYTES + 1))
    run(read(None))


def test_a_chunked_body_is_given_up_where_the_room_ends() -> None:
    async def read() -> None:
        budget = Budget(MIB, MIB)
        client = _Client(*_parts([b"x" * READ_AHEAD] * 100))
        with budget.lease() as lease, refused(OVERLOADED):
            await BodyReader(30).read(client, None, 100 * MIB, lease)
        assert client.received == MIB // READ_AHEAD
        assert budget.held == 0

    run(read())


# -- time ------------------------------------------------------------------------------------------------------------


async def _trickle() -> Message:
    await asyncio.sleep(1)
    return {"type": "http.request", "body": b"x", "more_body": True}


async def _time_out(bodies: BodyReader, reason: object = BODY_TIMEOUT) -> float:
    began = now()
    with Budget(MIB, MIB).lease() as lease, refused(reason):  # type: ignore[arg-type]
        await bodies.read(_trickle, None, MIB, lease)
    return now() - began


def test_a_body_that_trickles_in_is_given_up_in_time() -> None:
    assert 30 <= run(_time_out(BodyReader(30))) < 31


def test_bodies_begun_later_end_later() -> None:
    async def check() -> None:
        bodies = BodyReader(30)
        first = asyncio.create_task(_time_out(bodies))
        await asyncio.sleep(10)
        second = asyncio.create_task(_time_out(bodies))
        for task in (first, second):
            assert 30 <= await task < 31

    run(check())


def test_when_the_process_stops_bodies_have_only_a_moment_left() -> None:
    async def check() -> None:
        bodies = BodyReader(30)
        early = asyncio.create_task(_time_out(bodies, DRAINING))
        await asyncio.sleep(29.9)
        middle = asyncio.create_task(_time_out(bodies, DRAINING))
        await asyncio.sleep(0.01)
        bodies.hurry(1.0)
        assert await _time_out(bodies, DRAINING) < 1.5
        assert await middle < 1.5
        assert await early < 31

    run(check())


def test_a_body_that_is_whole_in_time_leaves_nothing_behind() -> None:
    async def check() -> None:
        bodies = BodyReader(30)
        with Budget(MIB, MIB).lease() as lease:
            await bodies.read(_Client(*_parts([b"abc"])), 3, MIB, lease)
        await asyncio.sleep(100)  # nothing is cancelled later
        assert now() == 100

    run(check())


def test_a_body_that_is_there_already_needs_no_timer_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    async def check() -> None:
        loop = asyncio.get_running_loop()
        bodies = BodyReader(30)
        timers: list[float] = []
        real = loop.call_at

        def call_at(when: float, *args: Any, **kwargs: Any) -> asyncio.TimerHandle:
            timers.append(when)
            return real(when, *args, **kwargs)

        monkeypatch.setattr(loop, "call_at", call_at)
        for _ in range(100):
            with Budget(MIB, MIB).lease() as lease:
                await bodies.read(_Client(*_parts([b"abc"])), 3, MIB, lease)
        assert len(timers) <= 1
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(check())


def test_whoever_is_cancelled_from_outside_is_not_told_that_it_was_late() -> None:
    async def check() -> None:
        task = asyncio.create_task(_time_out(BodyReader(30)))
        await asyncio.sleep(5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(check())
