"""Keeping: when a round of repairs runs, and what is said about it."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Self, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_core.edge.keeper import KEEP_SECONDS, Keeper
from sluice_core.edge.repair import Mended, _name, _Turns
from sluice_core.errors import BrokerUnavailable
from unit.virtual import now, run


class _Broker:
    reconnects = 0


class _Repair:
    """Notes when it ran; `trouble` is raised."""

    def __init__(self) -> None:
        self.rounds: list[float] = []
        self.trouble: Exception | None = None
        self.mended: list[str] = []
        self.seconds = 0.0

    async def run(self, say: Callable[[Mended], None]) -> None:
        self.rounds.append(now())
        await asyncio.sleep(self.seconds)
        if self.trouble is not None:
            raise self.trouble
        while self.mended:
            say(Mended("entry", self.mended.pop()))


class _Kept:
    def __init__(self) -> None:
        self.broker = _Broker()
        self.repair = _Repair()
        self.lock = asyncio.Lock()
        self.keeper = Keeper(cast("Any", self.broker), cast("Any", self.repair), self.lock)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.keeper.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert not self._task.done(), "it ended by itself"
        self._task.cancel()


def test_it_repairs_again_and_again() -> None:
    async def scenario() -> None:
        async with _Kept() as kept:
            await asyncio.sleep(3.5 * KEEP_SECONDS)
            assert len(kept.repair.rounds) == 4

    run(scenario())


def test_after_the_broker_came_back_it_repairs_at_once() -> None:
    async def scenario() -> None:
        async with _Kept() as kept:
            await asyncio.sleep(1)
            kept.broker.reconnects += 1
            await asyncio.sleep(0.5)
            assert len(kept.repair.rounds) == 2
            await asyncio.sleep(KEEP_SECONDS - 1)
            assert len(kept.repair.rounds) == 2

    run(scenario())


def test_a_reconnect_during_a_round_is_not_missed() -> None:
    async def scenario() -> None:
        async with _Kept() as kept:
            kept.repair.seconds = 1.0
            await asyncio.sleep(0.5)
            kept.broker.reconnects += 1
            await asyncio.sleep(1)
            assert len(kept.repair.rounds) == 2

    run(scenario())


def test_it_waits_for_who_provisions() -> None:
    async def scenario() -> None:
        async with _Kept() as kept:
            await asyncio.sleep(1)
            async with kept.lock:
                await asyncio.sleep(3 * KEEP_SECONDS)
                assert len(kept.repair.rounds) == 1
            await asyncio.sleep(0.1)
            assert len(kept.repair.rounds) == 2

    run(scenario())


def test_held_still_it_repairs_nothing_and_a_round_under_way_ends_first() -> None:
    async def scenario() -> None:
        async with _Kept() as kept:
            kept.repair.seconds = 2.0
            await asyncio.sleep(1)
            async with kept.keeper.still():
                assert now() == 2.0
                await asyncio.sleep(3 * KEEP_SECONDS)
                assert len(kept.repair.rounds) == 1
                async with kept.keeper.still():
                    pass
                await asyncio.sleep(3 * KEEP_SECONDS)
                assert len(kept.repair.rounds) == 1
            await asyncio.sleep(KEEP_SECONDS + 1)
            assert len(kept.repair.rounds) == 2

    run(scenario())


def test_what_was_repaired_is_said_in_a_line_each(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with _Kept() as kept:
            kept.repair.mended = ["b was gone", "a was gone"]
            await asyncio.sleep(2 * KEEP_SECONDS)

    run(scenario())
    assert caplog.messages == ["a was gone", "b was gone"]


def test_trouble_is_said_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def scenario() -> None:
        async with _Kept() as kept:
            kept.repair.trouble = BrokerUnavailable("not connected to the broker")
            await asyncio.sleep(3 * KEEP_SECONDS)
            assert len(kept.repair.rounds) > 4, "while it waits it looks more often"
            kept.repair.trouble = None
            await asyncio.sleep(3 * KEEP_SECONDS)

    run(scenario())
    assert caplog.messages == ["repairs have to wait", "repairs go on"]


def test_a_bug_does_not_end_it() -> None:
    async def scenario() -> None:
        async with _Kept() as kept:
            kept.repair.trouble = KeyError("x")
            await asyncio.sleep(3 * KEEP_SECONDS)
            assert len(kept.repair.rounds) > 2

    run(scenario())


@given(st.sets(st.text("abc", max_size=4), min_size=1, max_size=40), st.integers(1, 10))
def test_everybody_has_a_turn_before_anybody_has_a_second(names: set[str], share: int) -> None:
    turns = _Turns(share)
    seen: list[str] = []
    while len(seen) + min(share, len(names)) <= len(names):
        picked = turns.next(names)
        assert len(picked) == min(share, len(names))
        seen += picked
    assert len(set(seen)) == len(seen)
    for _ in range(len(names)):
        seen += turns.next(names)
    assert set(seen) == names


def test_nobody_needs_no_turn() -> None:
    assert _Turns(3).next([]) == []


def test_a_line_names_a_few() -> None:
    assert _name(["b", "a"]) == "a, b"
    assert _name(f"t{number}" for number in range(8)) == "t0, t1, t2, t3, t4 and 3 more"
