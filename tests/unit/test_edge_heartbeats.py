"""Signs of life: who counts as alive, and when everybody has seen something."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from sluice_core.edge.heartbeats import Roster, beat
from sluice_core.errors import BrokerUnavailable
from sluice_core.heartbeat import (
    HEARTBEAT_SECONDS,
    LIVE_SECONDS,
    Heartbeat,
    IngestHeartbeat,
    Volume,
    WorkerHeartbeat,
    decode_heartbeat,
    encode_heartbeat,
)
from unit.fakes import FakeMsg
from unit.virtual import now, run

_counts = st.integers(0, 2**63 - 1)
_names = st.text(max_size=20)


class _Broker:
    """Carries heartbeats from `send` to whoever subscribed."""

    def __init__(self) -> None:
        self.connected = True
        self.breaks = False
        self.sent: list[tuple[float, str, bytes]] = []
        self._handle: Callable[[Any], Awaitable[None]] | None = None

    async def subscribe(self, subject: str, handle: Callable[[Any], Awaitable[None]]) -> None:
        assert subject == "sluice.hb.>"
        self._handle = handle

    async def send(self, subject: str, payload: bytes) -> None:
        if self.breaks:
            raise BrokerUnavailable("the broker connection was lost")
        self.sent.append((now(), subject, payload))
        if self._handle is not None:
            await self._handle(FakeMsg(payload, subject))

    async def hear(self, heartbeat: Heartbeat) -> None:
        await self.send("sluice.hb.x", encode_heartbeat(heartbeat))


def _ingest(instance: str = "i1", *, seen: int = 1, stopping: bool = False) -> IngestHeartbeat:
    return IngestHeartbeat(instance=instance, number=1, seen=seen, stopping=stopping)


def _listen(scenario: Callable[[_Broker, Roster], Awaitable[None]]) -> None:
    async def main() -> None:
        broker = _Broker()
        roster = Roster(cast("Any", broker))
        await roster.start()
        await scenario(broker, roster)

    run(main())


@given(_names, _counts, _counts, st.dictionaries(_names, st.builds(Volume, _counts, _counts)), st.booleans())
def test_an_ingest_heartbeat_arrives_as_it_was_sent(
    instance: str, number: int, seen: int, accepted: dict[str, Volume], stopping: bool
) -> None:
    sent = IngestHeartbeat(instance=instance, number=number, seen=seen, accepted=accepted, stopping=stopping)
    assert decode_heartbeat(encode_heartbeat(sent)) == sent


@given(_names, _counts, st.dictionaries(_names, _counts), st.lists(_names), st.booleans())
def test_a_worker_heartbeat_arrives_as_it_was_sent(
    instance: str, number: int, settled: dict[str, int], refusing: list[str], idle: bool
) -> None:
    sent = WorkerHeartbeat(
        instance=instance, number=number, seen=0, lane="standard", settled=settled, refusing=refusing, idle=idle
    )
    assert decode_heartbeat(encode_heartbeat(sent)) == sent


def test_a_field_of_a_later_release_is_passed_over() -> None:
    raw = msgspec.msgpack.encode({"type": "ingest", "instance": "i", "number": 1, "seen": 2, "mood": "good"})
    assert decode_heartbeat(raw) == IngestHeartbeat(instance="i", number=1, seen=2)


def test_who_was_heard_lately_is_alive() -> None:
    async def scenario(broker: _Broker, roster: Roster) -> None:
        await broker.hear(_ingest("i1", seen=1))
        await asyncio.sleep(LIVE_SECONDS * 0.6)
        await broker.hear(_ingest("i2", seen=5))
        assert {one.instance for one in roster.live()} == {"i1", "i2"}
        await asyncio.sleep(LIVE_SECONDS * 0.6)
        assert {one.instance for one in roster.live()} == {"i2"}

    _listen(scenario)


def test_who_says_that_it_stops_is_not_waited_for() -> None:
    async def scenario(broker: _Broker, roster: Roster) -> None:
        await broker.hear(_ingest("i1"))
        await broker.hear(_ingest("i1", stopping=True))
        assert roster.live() == []

    _listen(scenario)


def test_garbage_among_heartbeats_disturbs_nobody() -> None:
    async def scenario(broker: _Broker, roster: Roster) -> None:
        await broker.send("sluice.hb.x", b"\xc1")
        await broker.hear(_ingest("i1"))
        assert len(roster.live()) == 1

    _listen(scenario)


def test_everybody_has_seen_it_only_when_the_slowest_has() -> None:
    async def scenario(broker: _Broker, roster: Roster) -> None:
        for _ in range(4):
            await broker.hear(_ingest("i1", seen=7))
            await broker.hear(_ingest("i2", seen=6))
            await asyncio.sleep(HEARTBEAT_SECONDS)
        assert roster.all_have_seen(6)
        assert not roster.all_have_seen(7)
        await broker.hear(_ingest("i2", seen=7))
        assert roster.all_have_seen(7)

    _listen(scenario)


def test_who_has_just_begun_to_listen_cannot_say_that_everybody_has_seen_it() -> None:
    async def scenario(broker: _Broker, roster: Roster) -> None:
        assert not roster.all_have_seen(1), "there may be processes that it has not heard yet"
        await asyncio.sleep(3 * HEARTBEAT_SECONDS)
        assert roster.all_have_seen(1), "nobody is there"

    _listen(scenario)


def test_a_dead_process_holds_nobody_up_for_longer_than_it_counts_as_alive() -> None:
    async def scenario(broker: _Broker, roster: Roster) -> None:
        await broker.hear(_ingest("killed", seen=1))
        await asyncio.sleep(LIVE_SECONDS * 0.9)
        assert not roster.all_have_seen(2)
        await asyncio.sleep(LIVE_SECONDS * 0.2)
        assert roster.all_have_seen(2)

    _listen(scenario)


def test_heartbeats_go_out_at_their_interval_and_none_is_made_while_disconnected() -> None:
    made: list[int] = []

    def make() -> Heartbeat:
        made.append(len(made) + 1)
        return IngestHeartbeat(instance="i", number=made[-1], seen=0)

    async def main() -> _Broker:
        broker = _Broker()
        beating = asyncio.create_task(beat(cast("Any", broker), "sluice.hb.ingest.i", make))
        await asyncio.sleep(2.1 * HEARTBEAT_SECONDS)
        broker.connected = False
        await asyncio.sleep(10)
        assert len(made) == 3
        broker.connected = broker.breaks = True
        await asyncio.sleep(HEARTBEAT_SECONDS)
        broker.breaks = False
        await asyncio.sleep(HEARTBEAT_SECONDS)
        assert not beating.done()
        beating.cancel()
        return broker

    broker = run(main())
    assert {subject for _, subject, _ in broker.sent} == {"sluice.hb.ingest.i"}
    numbers = [decode_heartbeat(payload).number for _, _, payload in broker.sent]
    assert numbers[:3] == [1, 2, 3]
    assert len(numbers) >= 4
