"""The worker's loop: an acknowledgement only after every record has its outcome, and nothing is ever given up."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from sluice_core.envelope import Record, Submission
from sluice_core.errors import AccessDenied, BrokerUnavailable, StoreUnavailable
from sluice_core.limits import MIB
from sluice_core.names import DLQ_STREAM
from sluice_worker.graveyard import Graveyard
from sluice_worker.in_flight import HEARTBEAT_SECONDS
from sluice_worker.loop import Loop
from sluice_worker.preparers import Preparers
from unit.fakes import FakeLane, FakeStore, FakeView, config, delivery, envelope, submission
from unit.virtual import now, run, settle

_PREPARERS = Preparers(b"\0" * 32)
"""Shared, since compiling a policy takes longer than any of these tests."""


class _DeadLetters:
    """The broker as the graveyard sees it."""

    def __init__(self) -> None:
        self.letters: list[tuple[str, dict[str, str]]] = []
        self.down = False

    async def publish(
        self, subject: str, payload: bytes, *, stream: str, timeout: float, headers: dict[str, str]
    ) -> int:
        assert stream == DLQ_STREAM
        await asyncio.sleep(0)
        if self.down:
            raise BrokerUnavailable("not connected to the broker")
        self.letters.append((subject, headers))
        return 1

    def reasons(self) -> list[tuple[str, str]]:
        return [(subject, headers["Sluice-reason"]) for subject, headers in self.letters]


class _Worker:
    def __init__(self, *tenants: Any, **settings: Any) -> None:
        self.lane = FakeLane()
        self.store = FakeStore()
        self.view = FakeView(*(tenants or (config(), config("beta"))))
        self.dead = _DeadLetters()
        self.loop = Loop(
            self.lane,
            self.view,
            self.store,
            _PREPARERS,
            Graveyard(cast("Any", self.dead)),
            **{
                "in_flight_bytes": 64 * MIB,
                "parallel_windows": 3,
                "parallel_writes": 16,
                "seconds_per_char": 0.0,
                **settings,
            },
        )
        self.running: asyncio.Task[None] | None = None

    def send(self, sequence: int, *parts: Submission, pending: int = 0) -> None:
        self.lane.put(delivery(envelope(*parts), sequence, pending=pending))

    def ids(self, tenant_id: str = "acme") -> set[str]:
        return set(self.store.of(tenant_id))

    async def stop(self, timeout: float = 5.0) -> None:
        assert self.running is not None
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)
        await self.loop.stop(timeout)


def _work(scenario: Callable[[_Worker], Awaitable[None]], *tenants: Any, **settings: Any) -> None:
    async def main() -> None:
        worker = _Worker(*tenants, **settings)
        worker.running = asyncio.create_task(worker.loop.run())
        await settle()
        try:
            await scenario(worker)
            assert not worker.running.done() or worker.running.cancelled()
        finally:
            await worker.stop()

    run(main())


def _part(*ids: str, tenant_id: str = "acme", uid: str = "u1", text: str = "hello") -> Submission:
    return submission(*(Record(log_id, text) for log_id in ids), tenant_id=tenant_id, uid=uid)


def test_a_message_is_stored_and_acknowledged_at_once() -> None:
    async def scenario(worker: _Worker) -> None:
        worker.send(1, _part("a", "b"), _part("c", tenant_id="beta"))
        await settle()
        assert worker.ids() == {"a", "b"}
        assert worker.ids("beta") == {"c"}
        assert worker.lane.acknowledged == [1]
        assert now() == 0

    _work(scenario)


def test_a_message_is_acknowledged_only_after_every_tenants_part_is_stored() -> None:
    async def scenario(worker: _Worker) -> None:
        release = asyncio.Event()
        held: list[str] = []

        async def pause() -> None:
            if not held:
                held.append("one")
                await release.wait()

        worker.store.pause = pause
        worker.send(1, _part("a"), _part("b", tenant_id="beta"))
        await asyncio.sleep(5)
        assert len(worker.ids() | worker.ids("beta")) == 1
        assert worker.lane.acknowledged == []
        release.set()
        await settle()
        assert worker.ids() | worker.ids("beta") == {"a", "b"}
        assert worker.lane.acknowledged == [1]

    _work(scenario)


def test_messages_of_one_window_are_written_together_and_acknowledged_each() -> None:
    async def scenario(worker: _Worker) -> None:
        worker.send(1, _part("a"), pending=2)
        worker.send(2, _part("b"), pending=1)
        worker.send(3, _part("c"))
        await settle()
        assert worker.store.calls == ["insert"]
        assert worker.lane.acknowledged == [1, 2, 3]

    _work(scenario)


def test_a_duplicate_is_acknowledged_too() -> None:
    async def scenario(worker: _Worker) -> None:
        worker.send(1, _part("a"))
        await settle()
        worker.send(1, _part("a"))
        await settle()
        assert worker.lane.acknowledged == [1, 1]
        assert worker.ids() == {"a"}

    _work(scenario)


def test_a_message_without_records_is_acknowledged() -> None:
    async def scenario(worker: _Worker) -> None:
        worker.send(1)
        worker.send(2, _part())
        await asyncio.sleep(1)
        assert worker.lane.acknowledged == [1, 2]

    _work(scenario)


def test_a_database_that_is_away_is_waited_for() -> None:
    async def scenario(worker: _Worker) -> None:
        worker.store.faults = [StoreUnavailable("away")] * 20
        worker.send(1, _part("a"))
        await asyncio.sleep(60)
        assert worker.lane.acknowledged == []
        assert worker.ids() == set()
        await asyncio.sleep(60)
        assert worker.lane.acknowledged == [1]
        assert worker.ids() == {"a"}

    _work(scenario)


def test_what_takes_long_shows_signs_of_life() -> None:
    async def scenario(worker: _Worker) -> None:
        worker.lane.waiting = (delivery(b"", 9),)
        worker.store.faults = [StoreUnavailable("away")] * 1000
        worker.send(1, _part("a"))
        await asyncio.sleep(3 * HEARTBEAT_SECONDS + 1)
        assert sorted(worker.lane.alive) == [1, 1, 1, 9, 9, 9]
        worker.store.faults = []
        await asyncio.sleep(10)
        assert worker.lane.acknowledged == [1]
        worker.lane.alive.clear()
        await asyncio.sleep(HEARTBEAT_SECONDS)
        assert worker.lane.alive == [9], "what is finished needs none"

    _work(scenario)


def test_signs_of_life_go_on_after_the_broker_was_away() -> None:
    async def scenario(worker: _Worker) -> None:
        worker.store.faults = [StoreUnavailable("away")] * 1000
        worker.send(1, _part("a"))
        await settle()
        worker.lane.down = True
        await asyncio.sleep(2 * HEARTBEAT_SECONDS + 1)
        worker.lane.down = False
        await asyncio.sleep(HEARTBEAT_SECONDS)
        assert worker.lane.alive == [1]

    _work(scenario)


def test_a_lost_acknowledgement_is_no_trouble() -> None:
    async def scenario(worker: _Worker) -> None:
        release = asyncio.Event()
        worker.store.pause = release.wait  # type: ignore[assignment]
        worker.send(1, _part("a"))
        await settle()
        worker.lane.down = True
        release.set()
        await asyncio.sleep(5)
        assert worker.ids() == {"a"}
        worker.lane.down = False
        worker.send(1, _part("a"))
        await asyncio.sleep(5)
        assert worker.lane.acknowledged == [1]

    _work(scenario)


# -- records and messages that can never be stored -------------------------------------------------------------------
def test_an_unreadable_message_becomes_a_dead_letter_and_is_acknowledged_after_it() -> None:
    async def scenario(worker: _Worker) -> None:
        worker.dead.down = True
        worker.lane.put(delivery(b"\xc1", 1))
        await asyncio.sleep(5)
        assert worker.lane.acknowledged == []
        worker.dead.down = False
        await asyncio.sleep(10)
        assert worker.dead.reasons() == [("dlq._unreadable", "unreadable_message")]
        assert worker.lane.acknowledged == [1]

    _work(scenario)


def test_an_unreadable_message_does_not_keep_its_window_from_being_stored() -> None:
    async def scenario(worker: _Worker) -> None:
        worker.lane.put(delivery(b"\xc1", 1, pending=1))
        worker.send(2, _part("a"))
        await settle()
        assert worker.ids() == {"a"}
        assert sorted(worker.lane.acknowledged) == [1, 2]

    _work(scenario)


def test_a_record_that_is_refused_becomes_a_dead_letter_before_its_message_is_acknowledged() -> None:
    async def scenario(worker: _Worker) -> None:
        worker.store.refuse.add("bad")
        worker.dead.down = True
        worker.send(1, _part("good", "bad"))
        await asyncio.sleep(5)
        assert worker.lane.acknowledged == []
        worker.dead.down = False
        await asyncio.sleep(10)
        assert worker.dead.reasons() == [("dlq.acme", "write_refused")]
        assert worker.ids() == {"good"}
        assert worker.lane.acknowledged == [1]

    _work(scenario)


def test_a_record_that_cannot_be_encoded_becomes_a_dead_letter_alone() -> None:
    async def scenario(worker: _Worker) -> None:
        worker.send(1, submission(Record("a", "x"), Record("b", "x", None, {"k": 2**64 - 1})))
        await settle()
        assert worker.dead.reasons() == [("dlq.acme", "unencodable_record")]
        assert worker.ids() == {"a"}
        assert worker.lane.acknowledged == [1]

    _work(scenario)


def test_a_policy_that_cannot_be_compiled_stores_nothing_and_stops_nobody() -> None:
    async def scenario(worker: _Worker) -> None:
        worker.send(1, _part("a", "b"), _part("c", tenant_id="beta"))
        worker.send(2, _part("d", tenant_id="beta"))
        await settle()
        assert worker.ids() == set()
        assert worker.dead.reasons() == [("dlq.acme", "redaction_failed")] * 2
        assert worker.ids("beta") == {"c", "d"}
        assert sorted(worker.lane.acknowledged) == [1, 2]

    _work(scenario, config(detectors={"no such detector": "Replace"}), config("beta"))


# -- tenants that are unknown or gone --------------------------------------------------------------------------------
def test_an_unknown_tenant_is_confirmed_before_its_records_are_discarded() -> None:
    async def scenario(worker: _Worker) -> None:
        worker.send(1, _part("a", tenant_id="nobody"))
        await settle()
        assert worker.view.confirms == 1
        assert worker.lane.acknowledged == [1]
        assert worker.ids("nobody") == set()
        assert worker.dead.letters == []

    _work(scenario)


def test_a_tenant_that_the_re_read_brings_is_stored() -> None:
    async def scenario(worker: _Worker) -> None:
        worker.view.on_confirm = lambda: worker.view.set(config("fresh"))
        worker.send(1, _part("a", tenant_id="fresh"))
        await settle()
        assert worker.ids("fresh") == {"a"}
        assert worker.lane.acknowledged == [1]

    _work(scenario)


def test_while_the_tenants_cannot_be_read_nothing_is_discarded() -> None:
    async def scenario(worker: _Worker) -> None:
        worker.view.readable = False
        worker.send(1, _part("a", tenant_id="fresh"))
        await asyncio.sleep(600)
        assert worker.lane.acknowledged == []
        worker.view.readable = True
        worker.view.on_confirm = lambda: worker.view.set(config("fresh"))
        await asyncio.sleep(20)
        assert worker.ids("fresh") == {"a"}
        assert worker.lane.acknowledged == [1]

    _work(scenario)


def test_records_of_an_earlier_provisioning_are_discarded() -> None:
    async def scenario(worker: _Worker) -> None:
        worker.send(1, _part("old", uid="u0"), _part("new"))
        await settle()
        assert worker.ids() == {"new"}
        assert worker.lane.acknowledged == [1]

    _work(scenario)


def test_a_tenant_made_anew_during_a_window_inherits_nothing_and_loses_nothing() -> None:
    async def scenario(worker: _Worker) -> None:
        worker.view.on_confirm = lambda: worker.view.set(config(uid="u2", revision=9))
        worker.send(1, _part("old", uid="u1"), _part("new", uid="u2"))
        await settle()
        assert worker.ids() == {"new"}
        assert worker.lane.acknowledged == [1]

    _work(scenario)


def test_a_tombstone_alone_does_not_discard_what_was_accepted() -> None:
    async def scenario(worker: _Worker) -> None:
        worker.send(1, _part("a"))
        await settle()
        assert worker.ids() == {"a"}

    _work(scenario, config(state="gone"))


def test_a_denied_write_for_a_tenant_that_is_gone_discards() -> None:
    async def scenario(worker: _Worker) -> None:
        worker.store.faults = [AccessDenied("no")]
        worker.send(1, _part("a"))
        await settle()
        assert worker.ids() == set()
        assert worker.dead.letters == []
        assert worker.lane.acknowledged == [1]

    _work(scenario, config(state="gone"))


@pytest.mark.parametrize("successor", [None, config(uid="u2", revision=2), config(state="gone", revision=2)])
def test_a_denied_write_is_repeated_until_it_is_known_why(successor: Any) -> None:
    async def scenario(worker: _Worker) -> None:
        worker.store.faults = [AccessDenied("no")] * 1000
        worker.send(1, _part("a"))
        await asyncio.sleep(30)
        assert worker.lane.acknowledged == [], "a living tenant's records wait for the privilege"
        if successor is None:
            worker.store.faults = []
        else:
            worker.view.set(successor)
        await asyncio.sleep(5)
        assert worker.lane.acknowledged == [1]
        assert worker.ids() == ({"a"} if successor is None else set())

    _work(scenario)


# -- holding, bounds and stopping ------------------------------------------------------------------------------------
def test_a_held_record_is_stored_after_its_own_time() -> None:
    async def scenario(worker: _Worker) -> None:
        short, long = submission(Record("short", "x" * 2)), submission(Record("long", "x" * 5000))
        worker.send(1, short, long)
        await asyncio.sleep(0.09)
        assert worker.ids() == set()
        await asyncio.sleep(0.02)
        assert worker.ids() == {"short"}
        worker.send(2, _part("other", text="x" * 100))
        await asyncio.sleep(5.1)
        assert worker.ids() == {"short", "other"}
        assert worker.lane.acknowledged == [2]
        await asyncio.sleep(250)
        assert worker.ids() == {"short", "long", "other"}
        assert worker.lane.acknowledged == [2, 1]
        assert len(worker.lane.alive) >= 250 // HEARTBEAT_SECONDS, "no redelivery meanwhile"

    _work(scenario, seconds_per_char=0.05)


def test_no_more_windows_are_worked_on_than_allowed() -> None:
    async def scenario(worker: _Worker) -> None:
        release = asyncio.Event()
        worker.store.pause = release.wait  # type: ignore[assignment]
        for sequence in range(1, 6):
            worker.send(sequence, _part(str(sequence)))
        await asyncio.sleep(5)
        assert worker.lane.queue.qsize() == 3
        release.set()
        await asyncio.sleep(1)
        assert sorted(worker.lane.acknowledged) == [1, 2, 3, 4, 5]

    _work(scenario, parallel_windows=2)


def test_no_more_bytes_are_pulled_than_allowed() -> None:
    async def scenario(worker: _Worker) -> None:
        release = asyncio.Event()
        worker.store.pause = release.wait  # type: ignore[assignment]
        for sequence in range(1, 9):
            worker.send(sequence, _part(str(sequence), text="x" * MIB))
        await asyncio.sleep(5)
        assert worker.lane.queue.qsize() == 4
        release.set()
        await asyncio.sleep(1)
        assert len(worker.lane.acknowledged) == 8

    _work(scenario, in_flight_bytes=4 * MIB, parallel_windows=16)


def test_one_tenant_that_cannot_be_written_does_not_hold_another_tenants_message() -> None:
    async def scenario(worker: _Worker) -> None:
        insert = worker.store.insert

        async def deny(tenant_id: str, documents: Any) -> Any:
            if tenant_id == "acme":
                raise StoreUnavailable("away")
            return await insert(tenant_id, documents)

        worker.store.insert = deny  # type: ignore[method-assign]
        worker.send(1, _part("a"))
        worker.send(2, _part("b", tenant_id="beta"))
        await asyncio.sleep(5)
        assert worker.lane.acknowledged == [2]

    _work(scenario)


def test_a_worker_that_stops_finishes_what_is_being_written() -> None:
    async def scenario(worker: _Worker) -> None:
        worker.store.pause = lambda: asyncio.sleep(2)
        worker.send(1, _part("a"))
        await settle()
        await worker.stop()
        assert worker.ids() == {"a"}
        assert worker.lane.acknowledged == [1]
        assert worker.lane.given_back == []

    _work(scenario)


def test_a_worker_that_stops_gives_back_what_does_not_finish() -> None:
    async def scenario(worker: _Worker) -> None:
        worker.store.faults = [StoreUnavailable("away")] * 1000
        worker.send(1, _part("a"))
        await settle()
        started = now()
        await worker.stop(timeout=3)
        assert now() - started == pytest.approx(3)
        assert worker.lane.acknowledged == []
        assert worker.lane.given_back == [1]

    _work(scenario)


def test_a_worker_that_stops_gives_back_what_is_held_at_once() -> None:
    async def scenario(worker: _Worker) -> None:
        worker.send(1, _part("a", text="x" * 1000))
        await settle()
        started = now()
        await worker.stop()
        assert now() == started
        assert worker.lane.given_back == [1]
        assert worker.ids() == set()

    _work(scenario, seconds_per_char=1.0)


def test_a_worker_that_stops_gives_back_a_window_it_was_still_pulling() -> None:
    async def scenario(worker: _Worker) -> None:
        worker.send(1, _part("a"), pending=5)
        await settle()
        await worker.stop()
        assert worker.lane.given_back == [1]
        assert worker.lane.acknowledged == []

    _work(scenario)


def test_after_the_broker_was_away_the_worker_goes_on() -> None:
    async def scenario(worker: _Worker) -> None:
        worker.lane.down = True
        await asyncio.sleep(30)
        worker.send(1, _part("a"))
        worker.lane.down = False
        await asyncio.sleep(2)
        assert worker.lane.acknowledged == [1]

    _work(scenario)


def test_a_bug_in_one_window_does_not_stop_the_worker() -> None:
    async def scenario(worker: _Worker) -> None:
        worker.store.faults = [RuntimeError("a bug")]
        worker.send(1, _part("a"))
        await settle()
        worker.send(2, _part("b"))
        await settle()
        assert worker.lane.acknowledged == [2], "what failed is delivered again, never acknowledged"
        await asyncio.sleep(2 * HEARTBEAT_SECONDS)
        assert 1 not in worker.lane.alive, "without signs of life it is delivered again"

    _work(scenario)
