"""Pulling: a delivery's place from its reply subject, and what is said to the broker."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_core.edge.pull import Delivery, Puller, read_delivery
from unit.fakes import FakeMsg
from unit.virtual import now, run, settle

_SHORT = "$JS.ACK.SLUICE_LANE_standard.workers.3.17.19.1700000000000000001.5"
_LONG = "$JS.ACK._.ACCHASH.SLUICE_LANE_standard.workers.3.17.19.1700000000000000001.5"


def _read(reply: str) -> Delivery | None:
    return read_delivery(cast("Any", FakeMsg(b"payload", reply=reply)))


@pytest.mark.parametrize("reply", [_SHORT, _LONG, f"{_LONG}.aBcD", _LONG.replace("_.ACC", "hub.ACC")])
def test_every_form_of_the_reply_subject_says_the_same(reply: str) -> None:
    assert _read(reply) == Delivery(b"payload", reply, "SLUICE_LANE_standard", 3, 17, 1700000000000000001)


@pytest.mark.parametrize("reply", ["", "_INBOX.worker.abc", "$JS.ACK", "$JS.API.INFO.a.b.c.d.e.f", "a.b.c.d.e.f.g.h.i"])
def test_what_is_no_delivery_is_none(reply: str) -> None:
    assert _read(reply) is None


@given(st.integers(1, 2**31), st.integers(1, 2**63), st.integers(0, 2**63))
def test_numbers_of_any_size_are_read(delivered: int, sequence: int, time: int) -> None:
    read = _read(f"$JS.ACK.S.workers.{delivered}.{sequence}.1.{time}.0")
    assert read is not None
    assert (read.stream, read.delivered, read.sequence, read.time) == ("S", delivered, sequence, time)


# -- the open request ------------------------------------------------------------------------------------------------
class _Broker:
    """Notes what is sent, and hands in what the test lets arrive."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes]] = []
        self.take: Callable[[Any], Awaitable[None]] | None = None

    def new_inbox(self) -> str:
        return "_INBOX_worker.1"

    async def subscribe(self, subject: str, handle: Callable[[Any], Awaitable[None]]) -> None:
        self.take = handle

    async def send(self, subject: str, payload: bytes = b"", reply: str = "") -> None:
        self.sent.append((subject, payload))

    async def say(self, status: str, description: str = "") -> None:
        assert self.take is not None
        await self.take(FakeMsg(headers={"Status": status, "Description": description}))

    async def deliver(self) -> None:
        assert self.take is not None
        await self.take(FakeMsg(b"payload", reply=_SHORT))

    @property
    def requests(self) -> int:
        return sum(subject.startswith("$JS.API.CONSUMER.MSG.NEXT.") for subject, _ in self.sent)


async def _puller() -> tuple[_Broker, Puller]:
    broker = _Broker()
    puller = Puller(cast("Any", broker), "standard")
    await puller.start()
    return broker, puller


def test_nothing_waits_when_the_broker_last_said_so() -> None:
    async def main() -> None:
        broker, puller = await _puller()
        assert not puller.nothing_waits, "it was not asked yet"
        for status, description, expected in (
            ("408", "Request Timeout", True),
            ("409", "Consumer Deleted", False),
            ("404", "No Messages", True),
            ("503", "", False),
            ("408", "Request Timeout", True),
            ("409", "Message Size Exceeds MaxBytes", False),
        ):
            await broker.say(status, description)
            assert puller.nothing_waits is expected
        await broker.say("404", "No Messages")
        await broker.deliver()
        assert not puller.nothing_waits

    run(main())


def test_a_message_that_is_put_off_names_the_time_in_nanoseconds() -> None:
    async def main() -> None:
        broker, puller = await _puller()
        await broker.deliver()
        delivery = await puller.next(1, batch=1, max_bytes=1)
        assert delivery is not None
        await puller.put_off(delivery, 30.0)
        [(subject, payload)] = broker.sent
        assert subject == _SHORT
        word, _, options = payload.partition(b" ")
        assert (word, json.loads(options)) == (b"-NAK", {"delay": 30_000_000_000})

    run(main())


@pytest.mark.parametrize(("status", "description"), [("409", "Consumer Deleted"), ("503", "")])
def test_without_its_consumer_it_asks_now_and_then_and_never_in_a_loop(status: str, description: str) -> None:
    async def main() -> None:
        broker, puller = await _puller()

        async def refuse() -> None:
            answered = 0
            while True:
                await asyncio.sleep(0.01)
                if broker.requests > answered:
                    answered = broker.requests
                    await broker.say(status, description)

        refusing = asyncio.create_task(refuse())
        while now() < 60:
            assert await puller.next(1, batch=10, max_bytes=1000) is None
        assert 10 <= broker.requests <= 60
        refusing.cancel()
        waiting = asyncio.create_task(puller.next(10, batch=10, max_bytes=1000))
        await settle()
        await broker.deliver()
        assert await waiting is not None, "when it is back, so is the worker"

    run(main())
