"""The worker's loop: an acknowledgement only after every record has its outcome, and nothing is ever given up."""

import asyncio

import pytest

from sluice_core.envelope import Record
from sluice_core.errors import StoreUnavailable
from sluice_core.limits import MIB, Limits
from sluice_core.tenant import RedactionConfig
from sluice_worker.company import LONGEST_PAUSE_SECONDS
from sluice_worker.in_flight import HEARTBEAT_SECONDS
from sluice_worker.loop import WRITES_PER_TENANT
from unit.fakes import config, delivery, envelope, submission
from unit.virtual import now, settle
from unit.worker_rig import Worker, part, work


def test_a_message_is_stored_and_acknowledged_at_once() -> None:
    async def scenario(worker: Worker) -> None:
        worker.send(1, part("a", "b"), part("c", tenant_id="beta"))
        await settle()
        assert worker.ids() == {"a", "b"}
        assert worker.ids("beta") == {"c"}
        assert worker.lane.acknowledged == [1]
        assert now() == 0

    work(scenario)


def test_a_message_is_acknowledged_only_after_every_tenants_part_is_stored() -> None:
    async def scenario(worker: Worker) -> None:
        release = asyncio.Event()
        held: list[str] = []

        async def pause() -> None:
            if not held:
                held.append("one")
                await release.wait()

        worker.store.pause = pause
        worker.send(1, part("a"), part("b", tenant_id="beta"))
        await asyncio.sleep(5)
        assert len(worker.ids() | worker.ids("beta")) == 1
        assert worker.lane.acknowledged == []
        release.set()
        await settle()
        assert worker.ids() | worker.ids("beta") == {"a", "b"}
        assert worker.lane.acknowledged == [1]

    work(scenario)


def test_messages_that_arrive_together_are_written_together_and_acknowledged_each() -> None:
    async def scenario(worker: Worker) -> None:
        worker.send(1, part("a"))
        worker.send(2, part("b"))
        worker.send(3, part("c"))
        await settle()
        assert worker.store.calls == ["insert"]
        assert worker.lane.acknowledged == [1, 2, 3]

    work(scenario)


def test_a_duplicate_is_acknowledged_too() -> None:
    async def scenario(worker: Worker) -> None:
        worker.send(1, part("a"))
        await settle()
        worker.send(1, part("a"))
        await settle()
        assert worker.lane.acknowledged == [1, 1]
        assert worker.ids() == {"a"}

    work(scenario)


def test_a_message_without_records_is_acknowledged() -> None:
    async def scenario(worker: Worker) -> None:
        worker.send(1)
        worker.send(2, part())
        await asyncio.sleep(1)
        assert worker.lane.acknowledged == [1, 2]

    work(scenario)


def test_a_database_that_is_away_is_waited_for() -> None:
    async def scenario(worker: Worker) -> None:
        worker.store.well = False
        worker.store.faults = [StoreUnavailable("away")] * 20
        worker.send(1, part("a"))
        await asyncio.sleep(60)
        assert worker.lane.acknowledged == []
        assert worker.ids() == set()
        assert worker.letters.letters == []
        await asyncio.sleep(60)
        assert worker.lane.acknowledged == [1]
        assert worker.ids() == {"a"}

    work(scenario)


def test_what_takes_long_shows_signs_of_life() -> None:
    async def scenario(worker: Worker) -> None:
        worker.lane.waiting = (delivery(b"", 9),)
        worker.store.well = False
        worker.store.faults = [StoreUnavailable("away")] * 1000
        worker.send(1, part("a"))
        await asyncio.sleep(3 * HEARTBEAT_SECONDS + 1)
        assert sorted(worker.lane.alive) == [1, 1, 1, 9, 9, 9]
        worker.store.faults = []
        await asyncio.sleep(10)
        assert worker.lane.acknowledged == [1]
        worker.lane.alive.clear()
        await asyncio.sleep(HEARTBEAT_SECONDS)
        assert worker.lane.alive == [9], "what is finished needs none"

    work(scenario)


def test_signs_of_life_go_on_after_the_broker_was_away() -> None:
    async def scenario(worker: Worker) -> None:
        worker.store.well = False
        worker.store.faults = [StoreUnavailable("away")] * 1000
        worker.send(1, part("a"))
        await settle()
        worker.lane.down = True
        await asyncio.sleep(2 * HEARTBEAT_SECONDS + 1)
        worker.lane.down = False
        await asyncio.sleep(HEARTBEAT_SECONDS)
        assert worker.lane.alive == [1]

    work(scenario)


def test_a_lost_acknowledgement_is_no_trouble() -> None:
    async def scenario(worker: Worker) -> None:
        release = asyncio.Event()
        worker.store.pause = release.wait  # type: ignore[assignment]
        worker.send(1, part("a"))
        await settle()
        worker.lane.down = True
        release.set()
        await asyncio.sleep(5)
        assert worker.ids() == {"a"}
        worker.lane.down = False
        worker.send(1, part("a"))
        await asyncio.sleep(5)
        assert worker.lane.acknowledged == [1]

    work(scenario)


# -- records and messages that can never be stored -------------------------------------------------------------------
def test_an_unreadable_message_becomes_a_dead_letter_and_is_acknowledged_after_it() -> None:
    async def scenario(worker: Worker) -> None:
        worker.letters.down = True
        worker.lane.put(delivery(b"\xc1", 1))
        await asyncio.sleep(5)
        assert worker.lane.acknowledged == []
        worker.letters.down = False
        await asyncio.sleep(10)
        assert worker.letters.reasons() == [("dlq._unreadable", "unreadable_message")]
        assert worker.lane.acknowledged == [1]

    work(scenario)


def test_an_unreadable_message_does_not_keep_others_from_being_stored() -> None:
    async def scenario(worker: Worker) -> None:
        worker.lane.put(delivery(b"\xc1", 1))
        worker.send(2, part("a"))
        await settle()
        assert worker.ids() == {"a"}
        assert sorted(worker.lane.acknowledged) == [1, 2]

    work(scenario)


def test_a_record_that_is_refused_becomes_a_dead_letter_before_its_message_is_acknowledged() -> None:
    async def scenario(worker: Worker) -> None:
        worker.store.refuse.add("bad")
        worker.letters.down = True
        worker.send(1, part("good", "bad"))
        await asyncio.sleep(5)
        assert worker.lane.acknowledged == []
        worker.letters.down = False
        await asyncio.sleep(10)
        assert worker.letters.reasons() == [("dlq.acme", "write_refused")]
        assert worker.ids() == {"good"}
        assert worker.lane.acknowledged == [1]

    work(scenario)


def test_a_record_that_cannot_be_encoded_becomes_a_dead_letter_alone() -> None:
    async def scenario(worker: Worker) -> None:
        worker.send(1, submission(Record("a", "x"), Record("b", "x", None, {"k": 2**64 - 1})))
        await settle()
        assert worker.letters.reasons() == [("dlq.acme", "unencodable_record")]
        assert worker.ids() == {"a"}
        assert worker.lane.acknowledged == [1]

    work(scenario)


def test_a_policy_that_cannot_be_compiled_stores_nothing_and_stops_nobody() -> None:
    async def scenario(worker: Worker) -> None:
        worker.send(1, part("a", "b"), part("c", tenant_id="beta"))
        worker.send(2, part("d", tenant_id="beta"))
        await settle()
        assert worker.ids() == set()
        assert worker.letters.reasons() == [("dlq.acme", "redaction_failed")] * 2
        assert worker.ids("beta") == {"c", "d"}
        assert sorted(worker.lane.acknowledged) == [1, 2]

    work(scenario, config(redaction=RedactionConfig({"no such detector": "Replace"})), config("beta"))


# -- tenants that are unknown or gone --------------------------------------------------------------------------------
def test_an_unknown_tenant_is_confirmed_before_its_records_are_discarded() -> None:
    async def scenario(worker: Worker) -> None:
        worker.send(1, part("a", tenant_id="nobody"))
        await settle()
        assert worker.view.confirms == 1
        assert worker.lane.acknowledged == [1]
        assert worker.ids("nobody") == set()
        assert worker.letters.letters == []

    work(scenario)


def test_a_tenant_that_the_re_read_brings_is_stored() -> None:
    async def scenario(worker: Worker) -> None:
        worker.view.on_confirm = lambda: worker.view.set(config("fresh"))
        worker.send(1, part("a", tenant_id="fresh"))
        await settle()
        assert worker.ids("fresh") == {"a"}
        assert worker.lane.acknowledged == [1]

    work(scenario)


def test_while_the_tenants_cannot_be_read_nothing_is_discarded() -> None:
    async def scenario(worker: Worker) -> None:
        worker.view.readable = False
        worker.send(1, part("a", tenant_id="fresh"))
        await asyncio.sleep(600)
        assert worker.lane.acknowledged == []
        worker.view.readable = True
        worker.view.on_confirm = lambda: worker.view.set(config("fresh"))
        await asyncio.sleep(20)
        assert worker.ids("fresh") == {"a"}
        assert worker.lane.acknowledged == [1]

    work(scenario)


def test_records_of_an_earlier_provisioning_are_discarded() -> None:
    async def scenario(worker: Worker) -> None:
        worker.send(1, part("old", uid="u0"), part("new"))
        await settle()
        assert worker.ids() == {"new"}
        assert worker.lane.acknowledged == [1]

    work(scenario)


def test_a_tenant_made_anew_meanwhile_inherits_nothing_and_loses_nothing() -> None:
    async def scenario(worker: Worker) -> None:
        worker.view.on_confirm = lambda: worker.view.set(config(uid="u2", revision=9))
        worker.send(1, part("old", uid="u1"), part("new", uid="u2"))
        await settle()
        assert worker.ids() == {"new"}
        assert worker.lane.acknowledged == [1]

    work(scenario)


def test_a_tombstone_alone_does_not_discard_what_was_accepted() -> None:
    async def scenario(worker: Worker) -> None:
        worker.send(1, part("a"))
        await settle()
        assert worker.ids() == {"a"}

    work(scenario, config(state="gone"))


# -- holding, bounds and stopping ------------------------------------------------------------------------------------
def test_a_held_record_is_stored_after_its_own_time() -> None:
    async def scenario(worker: Worker) -> None:
        short, long = submission(Record("short", "x" * 2)), submission(Record("long", "x" * 5000))
        worker.send(1, short, long)
        await asyncio.sleep(0.09)
        assert worker.ids() == set()
        await asyncio.sleep(0.02)
        assert worker.ids() == {"short"}
        worker.send(2, part("other", text="x" * 100))
        await asyncio.sleep(5.1)
        assert worker.ids() == {"short", "other"}
        assert worker.lane.acknowledged == [2]
        await asyncio.sleep(250)
        assert worker.ids() == {"short", "long", "other"}
        assert worker.lane.acknowledged == [2, 1]
        assert len(worker.lane.alive) >= 250 // HEARTBEAT_SECONDS, "no redelivery meanwhile"

    work(scenario, seconds_per_char=0.05)


def test_no_more_is_held_than_allowed() -> None:
    async def scenario(worker: Worker) -> None:
        release = asyncio.Event()
        worker.store.pause = release.wait  # type: ignore[assignment]
        for sequence in range(1, 9):
            worker.send(sequence, part(str(sequence), text="x" * MIB))
        await asyncio.sleep(5)
        assert worker.lane.queue.qsize() == 6, "each is there twice, as a message and as a text"
        release.set()
        await asyncio.sleep(1)
        assert len(worker.lane.acknowledged) == 8

    work(scenario, in_flight_bytes=4 * MIB)


def test_a_message_that_comes_again_while_it_is_held_is_worked_on_once_and_answered_as_it_came_last() -> None:
    async def scenario(worker: Worker) -> None:
        release = asyncio.Event()
        worker.store.pause = release.wait  # type: ignore[assignment]
        payload = envelope(part("a"))
        for delivered in range(1, 4):
            worker.lane.put(delivery(payload, 1, delivered=delivered))
            await settle()
        release.set()
        await settle()
        assert worker.store.calls == ["insert"]
        assert worker.lane.acknowledged == [1]
        assert [message.delivery.delivered for message in worker.finished] == [3]
        assert worker.loop.idle

    work(scenario)


def test_a_worker_that_stops_finishes_what_is_being_written() -> None:
    async def scenario(worker: Worker) -> None:
        worker.store.pause = lambda: asyncio.sleep(2)
        worker.send(1, part("a"))
        await settle()
        await worker.stop()
        assert worker.ids() == {"a"}
        assert worker.lane.acknowledged == [1]
        assert worker.lane.given_back == []

    work(scenario)


def test_a_worker_that_stops_gives_back_what_does_not_finish() -> None:
    async def scenario(worker: Worker) -> None:
        worker.store.well = False
        worker.store.faults = [StoreUnavailable("away")] * 1000
        worker.send(1, part("a"))
        await settle()
        started = now()
        await worker.stop(timeout=3)
        assert now() - started == pytest.approx(3)
        assert worker.lane.acknowledged == []
        assert worker.lane.given_back == [1]

    work(scenario)


def test_a_worker_that_stops_gives_back_what_is_held_at_once() -> None:
    async def scenario(worker: Worker) -> None:
        worker.send(1, part("a", text="x" * 1000))
        await settle()
        started = now()
        await worker.stop()
        assert now() == started
        assert worker.lane.given_back == [1]
        assert worker.ids() == set()

    work(scenario, seconds_per_char=1.0)


def test_a_worker_that_stops_gives_back_what_still_waits_for_its_turn() -> None:
    async def scenario(worker: Worker) -> None:
        worker.store.pause = lambda: asyncio.sleep(2)
        for sequence in range(1, 11):
            worker.send(sequence, part(str(sequence)))
            await settle()
        started = now()
        await worker.stop()
        begun = WRITES_PER_TENANT + 1
        assert now() - started == pytest.approx(4), "one was prepared and waited for a place"
        assert sorted(worker.lane.acknowledged) == list(range(1, begun + 1))
        assert sorted(worker.lane.given_back) == list(range(begun + 1, 11))

    work(scenario)


def test_after_the_broker_was_away_the_worker_goes_on() -> None:
    async def scenario(worker: Worker) -> None:
        worker.lane.down = True
        await asyncio.sleep(30)
        worker.send(1, part("a"))
        worker.lane.down = False
        await asyncio.sleep(2)
        assert worker.lane.acknowledged == [1]

    work(scenario)


def test_a_bug_in_one_turn_does_not_stop_the_worker() -> None:
    async def scenario(worker: Worker) -> None:
        worker.store.faults = [RuntimeError("a bug")]
        worker.send(1, part("a"))
        await settle()
        worker.send(2, part("b"))
        await settle()
        assert worker.lane.acknowledged == [2], "what failed is delivered again, never acknowledged"
        await asyncio.sleep(2 * HEARTBEAT_SECONDS)
        assert 1 not in worker.lane.alive, "without signs of life it is delivered again"

    work(scenario)


def test_what_one_tenant_cannot_be_rid_of_keeps_nobody_behind_it() -> None:
    """No time passes: its write hangs, and nobody else waits for what waits for that."""

    async def scenario(worker: Worker) -> None:
        release = asyncio.Event()

        async def pause() -> None:
            if len(worker.store.calls) <= WRITES_PER_TENANT:  # those of the first
                await release.wait()

        worker.store.pause = pause
        for sequence in range(1, 101):
            worker.send(sequence, part(str(sequence)))
            await settle()
        worker.send(101, part("late", tenant_id="beta"))
        await settle()
        assert worker.ids("beta") == {"late"}
        assert worker.lane.acknowledged == [101]
        assert now() == 0
        release.set()
        await settle()
        assert sorted(worker.lane.acknowledged) == list(range(1, 102))

    work(scenario)


def test_what_is_held_back_in_company_leaves_room_for_what_others_send() -> None:
    """More of one tenant than the worker has room for, which at its pace would take ten seconds."""

    async def scenario(worker: Worker) -> None:
        worker.send(1, part("prompt", tenant_id="beta"))
        for sequence in range(2, 52):
            worker.send(sequence, part(*(f"{sequence}-{place}" for place in range(10)), text="x" * 10_000))
        worker.send(52, part("late", tenant_id="beta"))
        await asyncio.sleep(2 * LONGEST_PAUSE_SECONDS)
        assert worker.ids("beta") == {"prompt", "late"}
        await asyncio.sleep(20)
        assert len(worker.ids()) == 500

    small = Limits(records_per_second=10)
    work(scenario, config(limits=small), config("beta", limits=small), in_flight_bytes=4 * MIB)
