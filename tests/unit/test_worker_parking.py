"""Parking: one tenant's database that refuses costs that tenant a detour, and nobody else anything."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sluice_core.envelope import Record, decode_envelope
from sluice_core.errors import AccessDenied, StoreInterrupted, StoreRefused, StoreUnavailable
from sluice_core.limits import ENVELOPE_BYTES, MIB
from sluice_worker.aside import LETTER_SECONDS
from sluice_worker.in_flight import MOST_MESSAGES, PUT_OFF_SECONDS
from unit.fakes import config, delivery, envelope, submission
from unit.virtual import now, settle
from unit.worker_rig import Worker, part, work


def trouble(worker: Worker, answer: Callable[[], Awaitable[None]], tenant_id: str = "acme") -> None:
    """From now on every insert for this tenant ends as `answer` does."""
    insert = worker.store.insert

    async def troubled(of: str, documents: Any) -> Any:
        if of == tenant_id:
            worker.store.calls.append("refused")
            await answer()
        return await insert(of, documents)

    worker.store.insert = troubled  # type: ignore[method-assign,assignment]


def refuse_with(error: Exception) -> Callable[[], Awaitable[None]]:
    async def answer() -> None:
        raise error

    return answer


async def time_out() -> None:
    await asyncio.sleep(10)
    raise StoreUnavailable("the database did not do it in time")


@pytest.mark.parametrize(
    ("error", "detail"),
    [(AccessDenied("no"), "AccessDenied"), (StoreRefused(166), "the database answered error 166")],
)
def test_what_a_tenants_database_refuses_is_parked_and_then_acknowledged(error: Exception, detail: str) -> None:
    async def scenario(worker: Worker) -> None:
        trouble(worker, refuse_with(error))
        worker.letters.down = True
        worker.send(1, part("a", "b"), part("c", tenant_id="beta"))
        await asyncio.sleep(3)
        assert worker.ids("beta") == {"c"}
        assert worker.lane.acknowledged == [], "not before the letter is on disk"
        worker.letters.down = False
        await asyncio.sleep(10)
        [(subject, headers, payload)] = worker.letters.letters
        assert subject == "parked.acme"
        assert headers["Sluice-reason"] == "store_refuses"
        assert headers["Sluice-detail"] == detail
        assert (headers["Sluice-records"], headers["Sluice-attempts"]) == ("2", "1")
        [parked] = decode_envelope(payload).submissions
        assert [record.log_id for record in parked.records] == ["a", "b"]
        assert (parked.accepted_as, parked.positions, parked.attempts) == ((1, 1), [0, 1], 1)
        assert worker.lane.acknowledged == [1]
        assert worker.ids() == set()

    work(scenario)


def test_several_submissions_of_one_tenant_are_one_letter() -> None:
    async def scenario(worker: Worker) -> None:
        trouble(worker, refuse_with(StoreRefused(166)))
        worker.send(1, part("a"), part("b"))
        worker.send(2, part("c"))
        await settle()
        assert worker.letters.reasons() == [("parked.acme", "store_refuses")]
        assert worker.letters.records("parked.acme") == ["a", "b", "c"]
        assert sorted(worker.lane.acknowledged) == [1, 2]

    work(scenario)


def test_one_that_sends_little_gets_few_letters() -> None:
    async def scenario(worker: Worker) -> None:
        trouble(worker, refuse_with(StoreRefused(166)))
        for sequence in range(1, 101):
            worker.send(sequence, part(str(sequence)))
            await asyncio.sleep(0.05)
        await asyncio.sleep(LETTER_SECONDS)
        assert len(worker.letters.letters) <= 7
        assert len(worker.letters.records("parked.acme")) == len(worker.lane.acknowledged) == 100

    work(scenario)


def test_one_that_sends_much_is_parked_at_once() -> None:
    async def scenario(worker: Worker) -> None:
        trouble(worker, refuse_with(StoreRefused(166)))
        worker.send(1, part("first"))
        await settle()
        for sequence in range(2, 12):
            worker.send(sequence, part("large", text="x" * ENVELOPE_BYTES))
        await asyncio.sleep(LETTER_SECONDS / 10)
        assert len(worker.lane.acknowledged) == 11

    work(scenario)


def test_what_comes_back_and_is_refused_again_counts_its_attempts() -> None:
    async def scenario(worker: Worker) -> None:
        trouble(worker, refuse_with(StoreRefused(166)))
        worker.send(1, part("a"))
        await settle()
        await asyncio.sleep(5)
        worker.lane.put(delivery(worker.letters.letters[0][2], 2))
        await settle()
        _, headers, payload = worker.letters.letters[1]
        assert headers["Sluice-attempts"] == "2"
        assert headers["Sluice-version"] == "1.1.0", "it keeps its version"
        assert decode_envelope(payload).submissions[0].attempts == 2

    work(scenario)


def test_an_open_circuit_parks_without_asking_and_closes_with_a_success() -> None:
    async def scenario(worker: Worker) -> None:
        broken = True

        async def answer() -> None:
            if broken:
                raise StoreRefused(166)

        trouble(worker, answer)
        for sequence in range(1, 6):
            worker.send(sequence, part(str(sequence)))
            await settle()
        assert worker.store.calls == ["refused"], "the database is asked once"
        assert worker.loop.refusing == ["acme"]
        await asyncio.sleep(1.1)
        assert worker.letters.records("parked.acme") == ["1", "2", "3", "4", "5"]
        assert {headers["Sluice-detail"] for _, headers, _ in worker.letters.letters} == {
            "the database answered error 166"
        }
        assert worker.loop.refusing == ["acme"], "a trial is due, and nothing is known before it"
        worker.send(6, part("6"))
        await settle()
        assert worker.store.calls == ["refused"] * 2
        broken = False
        await asyncio.sleep(1)
        worker.send(7, part("7"))
        await settle()
        assert worker.ids() == set(), "the back-off has doubled"
        await asyncio.sleep(1.1)
        worker.send(8, part("8"))
        worker.send(9, part("9"))
        await settle()
        assert worker.ids() == {"8", "9"}
        assert worker.loop.refusing == []
        await asyncio.sleep(LETTER_SECONDS)
        assert len(worker.lane.acknowledged) == 9

    work(scenario)


def test_a_call_that_times_out_while_others_can_write_is_a_refusal() -> None:
    async def scenario(worker: Worker) -> None:
        trouble(worker, time_out)
        worker.send(1, part("a"))
        await asyncio.sleep(9)
        assert worker.letters.letters == []
        await asyncio.sleep(1.1)
        [(_, headers, _)] = worker.letters.letters
        assert headers["Sluice-detail"] == "StoreUnavailable"
        assert worker.lane.acknowledged == [1]

    work(scenario)


def test_one_tenants_hanging_database_holds_nobody_else() -> None:
    """The other tenant's records are settled at once, each of 40 times."""

    async def scenario(worker: Worker) -> None:
        trouble(worker, time_out)
        for sequence in range(1, 81):
            worker.send(sequence, part(f"{sequence}", tenant_id="acme" if sequence % 2 else "beta"))
            await asyncio.sleep(0.05)
        assert now() < 5
        assert worker.lane.acknowledged == list(range(2, 81, 2))
        await asyncio.sleep(10)
        assert sorted(worker.lane.acknowledged) == list(range(1, 81)), "and its own are parked after one time-out"
        assert len(worker.store.calls) - len(worker.ids("beta")) <= 2, "two calls at most hung"

    work(scenario)


def test_messages_of_a_hanging_and_a_healthy_tenant_settle_the_healthy_one_at_once() -> None:
    async def scenario(worker: Worker) -> None:
        trouble(worker, time_out)
        begun = now()
        for sequence in range(1, 11):
            worker.send(sequence, part(f"a{sequence}"), part(f"b{sequence}", tenant_id="beta"))
        await asyncio.sleep(3)
        assert len(worker.ids("beta")) == 10
        assert worker.lane.acknowledged == []
        await asyncio.sleep(9)
        assert sorted(worker.lane.acknowledged) == list(range(1, 11))
        assert now() - begun < 13

    work(scenario)


def test_no_more_messages_are_held_than_leave_the_lane_room() -> None:
    async def scenario(worker: Worker) -> None:
        worker.store.well = False
        worker.store.faults = [StoreUnavailable("away")] * 10_000
        number = MOST_MESSAGES + 500
        small = envelope(part("a"))
        worker.lane.put(*(delivery(small, sequence) for sequence in range(1, number + 1)))
        await asyncio.sleep(60)
        assert worker.lane.queue.qsize() == 500
        await worker.stop(0)
        assert len(worker.lane.given_back) == number - worker.lane.queue.qsize()

    work(scenario)


# -- MongoDB as a whole ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("error", [StoreUnavailable("late"), StoreInterrupted("broke"), StoreRefused(1)])
def test_while_no_primary_answers_nothing_is_parked_and_nothing_dies(error: Exception) -> None:
    async def scenario(worker: Worker) -> None:
        worker.store.well = False
        trouble(worker, lambda: _away(worker, error))
        worker.send(1, part("a"))
        worker.send(2, part("b", tenant_id="beta"))
        await asyncio.sleep(120)
        assert worker.letters.letters == []
        assert worker.loop.refusing == []
        assert 1 in worker.lane.alive
        worker.store.well = True
        await asyncio.sleep(10)
        assert worker.ids() == {"a"}
        assert sorted(worker.lane.acknowledged) == [1, 2]
        assert worker.letters.letters == []

    work(scenario)


async def _away(worker: Worker, error: Exception) -> None:
    if not worker.store.well:
        raise error


def test_a_call_that_began_while_mongodb_was_away_blames_nobody() -> None:
    """It times out just after the primary is back: that is no proof against the tenant."""

    async def scenario(worker: Worker) -> None:
        slow = True

        async def answer() -> None:
            if slow:
                await time_out()

        trouble(worker, answer)
        await asyncio.sleep(5)
        worker.send(1, part("a"))
        await asyncio.sleep(2)
        worker.store.well = False
        await asyncio.sleep(7)
        worker.store.well = True
        slow = False
        await asyncio.sleep(3)
        assert worker.letters.letters == []
        assert worker.ids() == {"a"}
        assert worker.lane.acknowledged == [1]

    work(scenario)


def test_a_broken_connection_is_waited_out_however_well_the_rest_is() -> None:
    async def scenario(worker: Worker) -> None:
        worker.store.faults = [StoreInterrupted("broke")] * 3
        worker.send(1, part("a"))
        await asyncio.sleep(5)
        assert worker.ids() == {"a"}
        assert worker.letters.letters == []

    work(scenario)


# -- tenants that go -------------------------------------------------------------------------------------------------
def test_a_denied_write_for_a_tenant_that_is_gone_discards() -> None:
    async def scenario(worker: Worker) -> None:
        worker.store.faults = [AccessDenied("no")]
        worker.send(1, part("a"))
        await settle()
        assert worker.ids() == set()
        assert worker.letters.letters == []
        assert worker.lane.acknowledged == [1]

    work(scenario, config(state="gone"))


@pytest.mark.parametrize("successor", [config(uid="u2", revision=2), config(state="gone", revision=2)])
def test_a_denied_write_is_judged_by_a_fresh_look_at_the_tenant(successor: Any) -> None:
    async def scenario(worker: Worker) -> None:
        worker.view.on_confirm = lambda: worker.view.set(successor)
        worker.store.faults = [AccessDenied("no")]
        worker.send(1, part("a"))
        await settle()
        assert worker.letters.letters == [], "a tenant that is gone leaves no letters"
        assert worker.lane.acknowledged == [1]

    work(scenario)


def test_a_denied_write_waits_while_the_tenants_cannot_be_read() -> None:
    async def scenario(worker: Worker) -> None:
        trouble(worker, refuse_with(AccessDenied("no")))
        worker.view.readable = False
        worker.send(1, part("a"))
        await asyncio.sleep(60)
        assert worker.letters.letters == []
        assert worker.lane.acknowledged == []
        worker.view.readable = True
        await asyncio.sleep(10)
        assert worker.letters.reasons() == [("parked.acme", "store_refuses")]

    work(scenario)


def test_an_open_circuit_parks_nothing_of_a_tenant_that_is_gone() -> None:
    async def scenario(worker: Worker) -> None:
        trouble(worker, refuse_with(AccessDenied("no")))
        worker.send(1, part("a"))
        await settle()
        assert len(worker.letters.letters) == 1
        worker.view.set(config(state="gone", revision=2))
        assert worker.loop.refusing == []
        worker.send(2, part("b"))
        await settle()
        assert len(worker.letters.letters) == 1
        assert worker.lane.acknowledged == [1, 2]

    work(scenario)


def test_an_unknown_tenant_holds_only_its_own_records() -> None:
    async def scenario(worker: Worker) -> None:
        worker.view.readable = False
        for sequence in range(1, 11):
            worker.send(sequence, part("x", tenant_id="fresh"), part(f"{sequence}"))
        await asyncio.sleep(3)
        assert len(worker.ids()) == 10
        assert worker.lane.acknowledged == []

    work(scenario)


# -- no room for letters ---------------------------------------------------------------------------------------------
def test_where_no_more_can_be_parked_the_message_is_put_off_and_not_held() -> None:
    async def scenario(worker: Worker) -> None:
        trouble(worker, refuse_with(StoreRefused(166)))
        worker.letters.full.add("parked.acme")
        large = submission(Record("a", "x" * MIB))
        for sequence in range(1, 31):
            worker.send(sequence, large, part(f"b{sequence}", tenant_id="beta"))
        await asyncio.sleep(2)
        assert worker.lane.put_off_for == dict.fromkeys(range(1, 31), PUT_OFF_SECONDS)
        assert len(worker.ids("beta")) == 30, "its budget is not held"
        assert worker.lane.acknowledged == []
        assert worker.lane.given_back == []
        assert not worker.loop.idle, "they come again"
        await asyncio.sleep(PUT_OFF_SECONDS)
        assert worker.loop.idle

    work(scenario, in_flight_bytes=4 * MIB)


def test_where_no_more_can_be_buried_the_message_is_put_off_and_not_held() -> None:
    async def scenario(worker: Worker) -> None:
        worker.store.refuse = {"bad", "worse"}
        worker.letters.full.add("dlq.acme")
        worker.send(1, part("good", "bad", "worse"), part("b", tenant_id="beta"))
        await settle()
        assert (worker.ids(), worker.ids("beta")) == ({"good"}, {"b"})
        assert worker.lane.put_off_for == {1: PUT_OFF_SECONDS}
        assert worker.lane.acknowledged == []
        worker.letters.full.clear()
        worker.send(1, part("good", "bad", "worse"), part("b", tenant_id="beta"))
        await settle()
        assert worker.letters.records("dlq.acme") == ["bad", "worse"]
        assert worker.lane.acknowledged == [1]

    work(scenario)


def test_an_unreadable_message_that_cannot_be_kept_is_put_off() -> None:
    async def scenario(worker: Worker) -> None:
        worker.letters.full.add("dlq._unreadable")
        worker.lane.put(delivery(b"\xc1", 1))
        await settle()
        assert worker.lane.put_off_for == {1: PUT_OFF_SECONDS}

    work(scenario)


def test_only_what_was_acknowledged_counts_as_settled() -> None:
    async def scenario(worker: Worker) -> None:
        worker.letters.full.add("parked.acme")
        trouble(worker, refuse_with(StoreRefused(166)))
        worker.send(1, part("a"))
        worker.send(2, part("b", tenant_id="beta"))
        await settle()
        [message] = worker.finished
        assert message.delivery.sequence == 2
        [(tenant_id, size)] = message.volumes()
        assert tenant_id == "beta"
        assert 0 < size < message.size

    work(scenario)


def test_a_stream_made_anew_gets_no_acknowledgement_of_its_predecessors_messages() -> None:
    async def scenario(worker: Worker) -> None:
        release = asyncio.Event()
        worker.store.pause = release.wait  # type: ignore[assignment]
        worker.send(1, part("old"))
        await settle()
        worker.lane.put(delivery(envelope(part("new")), 1, time=500))
        await asyncio.sleep(0.5)
        release.set()
        await asyncio.sleep(1)
        assert worker.ids() == {"old", "new"}
        assert worker.lane.acknowledged == [1]

    work(scenario)
