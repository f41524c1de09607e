"""Group commit: together where it can be, a 202 only after every acknowledgement, and an end for every call."""

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice_core.envelope import Record, encode_submission
from sluice_core.errors import BrokerFull, BrokerUnavailable, MessageTooLarge, Refusal
from sluice_core.letter import read_letter
from sluice_core.limits import ENVELOPE_BYTES
from sluice_core.reasons import BROKER_FULL, BROKER_UNAVAILABLE, SET_ASIDE_FULL, Reason
from sluice_ingest.commit import GroupCommit, destination_of, lane_destination
from unit.fakes import FakePublisher, config, submission
from unit.virtual import now, run, settle

_PUBLISH_TIMEOUT = 2.0
_REQUEST_TIMEOUT = 4.5


def _commits(publisher: FakePublisher, *, in_flight: int = 4) -> GroupCommit:
    return GroupCommit(publisher, in_flight=in_flight, publish_timeout=_PUBLISH_TIMEOUT)


def _submission(name: str, size: int = 0) -> bytes:
    """Stands for an encoded submission: what matters is its bytes."""
    return msgspec.msgpack.encode(name.ljust(size))


def _names(payload: bytes) -> list[str]:
    read: list[str] = msgspec.msgpack.decode(payload, type=tuple[int, list[str]])[1]
    return [name.strip() for name in read]


def _sent(publisher: FakePublisher) -> list[list[str]]:
    return [_names(payload) for _, payload in publisher.sent]


async def _ask(
    commits: GroupCommit, *names: str, lane: str = "standard", size: int = 0, within: float = _REQUEST_TIMEOUT
) -> asyncio.Task[None]:
    parts = [_submission(name, size) for name in names]
    task = asyncio.create_task(commits.commit(lane_destination(lane), parts, now() + within))
    await settle()
    return task


def _outcome(task: asyncio.Task[None]) -> Reason | None:
    assert task.done()
    error = task.exception()
    assert error is None or isinstance(error, Refusal)
    return None if error is None else error.reason


_LARGE = ENVELOPE_BYTES - 100


def test_alone_a_request_leaves_at_once() -> None:
    async def main() -> None:
        publisher = FakePublisher()
        task = await _ask(_commits(publisher), "a")
        assert now() == 0
        assert publisher.sent[0][0] == "logs.standard"
        assert _sent(publisher) == [["a"]]
        assert not task.done(), "there is no answer before the acknowledgement"
        await publisher.answer()
        assert _outcome(task) is None

    run(main())


def test_what_arrives_while_a_commit_is_in_flight_goes_out_together() -> None:
    async def main() -> None:
        publisher = FakePublisher()
        commits = _commits(publisher)
        first = await _ask(commits, "first")
        others = [await _ask(commits, f"r{number}") for number in range(100)]
        assert _sent(publisher) == [["first"]]
        await publisher.answer()
        assert _sent(publisher)[1:] == [[f"r{number}" for number in range(100)]]
        assert _outcome(first) is None
        assert not any(task.done() for task in others)
        await publisher.answer()
        assert {_outcome(task) for task in others} == {None}

    run(main())


def test_lanes_never_share_an_envelope_nor_wait_for_each_other() -> None:
    async def main() -> None:
        publisher = FakePublisher()
        commits = _commits(publisher)
        for number in range(3):
            for lane in ("standard", "t-acme"):
                await _ask(commits, f"{lane} {number}", lane=lane)
        assert [subject for subject, _ in publisher.sent] == ["logs.standard", "logs.t-acme"]
        await publisher.answer()
        await publisher.answer()
        assert _sent(publisher)[2:] == [["standard 1", "standard 2"], ["t-acme 1", "t-acme 2"]]
        while publisher.open:
            await publisher.answer()
        await commits.drain()

    run(main())


def test_full_envelopes_leave_beside_each_other_up_to_a_bound() -> None:
    async def main() -> None:
        publisher = FakePublisher()
        commits = _commits(publisher, in_flight=3)
        tasks = [await _ask(commits, f"r{number}", size=_LARGE) for number in range(8)]
        assert 2 <= len(publisher.open) <= 3
        while publisher.open:
            assert len(publisher.open) <= 3
            await publisher.answer()
        assert publisher.most_open == 3
        assert {_outcome(task) for task in tasks} == {None}
        assert [name for envelope in _sent(publisher) for name in envelope] == [f"r{number}" for number in range(8)]

    run(main())


@pytest.mark.parametrize("sizes", [(ENVELOPE_BYTES // 2 - 5,) * 2, (ENVELOPE_BYTES // 4 - 5,) * 4, (1000,) * 700])
def test_an_envelope_of_several_submissions_stays_within_its_size(sizes: tuple[int, ...]) -> None:
    async def main() -> None:
        publisher = FakePublisher()
        commits = _commits(publisher)
        await _ask(commits, "first")
        for number, size in enumerate(sizes):
            await _ask(commits, f"r{number}", size=size)
        while publisher.open:
            await publisher.answer()
        assert max(len(payload) for _, payload in publisher.sent) <= ENVELOPE_BYTES

    run(main())


def test_a_submission_larger_than_an_envelope_goes_by_itself() -> None:
    async def main() -> None:
        publisher = FakePublisher()
        commits = _commits(publisher)
        await _ask(commits, "first")
        await _ask(commits, "small")
        await _ask(commits, "huge", size=3 * ENVELOPE_BYTES)
        await _ask(commits, "last")
        while publisher.open:
            await publisher.answer()
        assert ["huge"] in _sent(publisher)

    run(main())


@pytest.mark.parametrize("order", [(0, 0, 0), (2, 1, 0), (1, 0, 0)])
def test_a_request_is_answered_only_after_every_part_is_acknowledged(order: tuple[int, ...]) -> None:
    async def main() -> None:
        publisher = FakePublisher()
        commits = _commits(publisher)
        task = await _ask(commits, "one", "two", "three", size=_LARGE)
        for place in order:
            assert not task.done()
            await publisher.answer(min(place, len(publisher.open) - 1))
        assert _outcome(task) is None

    run(main())


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (BrokerFull("full"), BROKER_FULL),
        (BrokerUnavailable("away"), BROKER_UNAVAILABLE),
        (MessageTooLarge("large"), BROKER_UNAVAILABLE),
    ],
)
def test_a_failing_publish_fails_exactly_the_requests_in_it(error: Exception, reason: Reason) -> None:
    async def main() -> None:
        publisher = FakePublisher()
        commits = _commits(publisher)
        before = await _ask(commits, "before")
        within = [await _ask(commits, f"within {number}") for number in range(3)]
        await publisher.answer()
        behind = await _ask(commits, "behind")
        await publisher.answer(error=error)
        await publisher.answer()
        assert _outcome(before) is None
        assert {_outcome(task) for task in within} == {reason}
        assert _outcome(behind) is None

    run(main())


def test_one_failed_part_fails_the_request_and_its_other_parts_are_not_sent() -> None:
    async def main() -> None:
        publisher = FakePublisher()
        commits = _commits(publisher, in_flight=1)
        task = await _ask(commits, "one", "two", "three", size=_LARGE)
        await publisher.answer()
        await publisher.answer(error=BrokerUnavailable("away"))
        assert _outcome(task) is BROKER_UNAVAILABLE
        assert _sent(publisher) == [["one"], ["two"]]
        assert commits.queued_bytes == 0

    run(main())


def test_an_error_nobody_foresaw_still_answers_the_requests() -> None:
    async def main() -> None:
        publisher = FakePublisher()
        commits = _commits(publisher)
        seen: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(context))
        task = await _ask(commits, "a")
        behind = await _ask(commits, "b")
        await publisher.answer(error=RuntimeError("a bug"))
        assert _outcome(task) is BROKER_UNAVAILABLE
        await publisher.answer()
        assert _outcome(behind) is None

    run(main())


def test_a_request_that_queued_too_long_is_answered_and_not_sent() -> None:
    async def main() -> None:
        publisher = FakePublisher()
        commits = _commits(publisher)
        first = await _ask(commits, "first")
        queued = await _ask(commits, "queued", within=3.0)
        await asyncio.sleep(1.5)
        late = await _ask(commits, "late")
        await publisher.answer()
        assert _outcome(first) is None
        assert _outcome(queued) is BROKER_UNAVAILABLE
        assert _sent(publisher) == [["first"], ["late"]]
        await publisher.answer()
        assert _outcome(late) is None

    run(main())


def test_no_request_waits_longer_than_its_deadline() -> None:
    async def main() -> None:
        publisher = FakePublisher()
        commits = _commits(publisher, in_flight=2)
        tasks = [await _ask(commits, f"r{number}", size=_LARGE) for number in range(12)]
        await asyncio.sleep(_REQUEST_TIMEOUT + 0.001)
        assert {_outcome(task) for task in tasks} == {BROKER_UNAVAILABLE}
        assert commits.queued_bytes == 0

    run(main())


def test_a_request_given_up_while_it_waits_is_not_sent() -> None:
    async def main() -> None:
        publisher = FakePublisher()
        commits = _commits(publisher)
        await _ask(commits, "first")
        given_up = await _ask(commits, "given up")
        other = await _ask(commits, "other")
        given_up.cancel()
        await settle()
        await publisher.answer()
        assert _sent(publisher) == [["first"], ["other"]]
        await publisher.answer()
        assert _outcome(other) is None
        assert commits.queued_bytes == 0

    run(main())


def test_a_request_given_up_in_flight_disturbs_nobody() -> None:
    async def main() -> None:
        publisher = FakePublisher()
        commits = _commits(publisher)
        first = await _ask(commits, "first")
        pair = [await _ask(commits, "one"), await _ask(commits, "two")]
        await publisher.answer()
        pair[0].cancel()
        await settle()
        await publisher.answer()
        assert pair[0].cancelled()
        assert _outcome(first) is None
        assert _outcome(pair[1]) is None

    run(main())


def test_only_given_up_requests_leave_no_empty_envelope() -> None:
    async def main() -> None:
        publisher = FakePublisher()
        commits = _commits(publisher)
        await _ask(commits, "first")
        (await _ask(commits, "given up")).cancel()
        await settle()
        await publisher.answer()
        assert _sent(publisher) == [["first"]]
        await commits.drain()

    run(main())


def test_drain_waits_for_what_waits_and_what_is_in_flight() -> None:
    async def main() -> None:
        publisher = FakePublisher()
        commits = _commits(publisher)
        tasks = [await _ask(commits, "first"), await _ask(commits, "second")]
        draining = asyncio.create_task(commits.drain())
        await settle()
        assert not draining.done()
        await publisher.answer()
        assert not draining.done()
        await publisher.answer()
        await draining
        assert {_outcome(task) for task in tasks} == {None}

    run(main())


_BUFFERED = destination_of(config(suspension="Buffer"))


def test_a_tenant_goes_into_its_lane_and_while_it_is_buffered_beside_it() -> None:
    assert destination_of(config(lane="t-acme")) == lane_destination("t-acme")
    assert (_BUFFERED.subject, _BUFFERED.stream) == ("parked.acme", "SLUICE_DLQ")
    assert destination_of(config("beta", suspension="Buffer")) != _BUFFERED


def test_what_is_buffered_is_a_letter_that_says_why_and_how_much() -> None:
    async def main() -> None:
        publisher = FakePublisher()
        commits = _commits(publisher)
        for number in range(3):
            records = [Record(f"{number}-{place}", "text") for place in range(number + 1)]
            part = encode_submission(submission(*records))
            task = asyncio.create_task(commits.commit(_BUFFERED, [part], now() + _REQUEST_TIMEOUT))
            await settle()
        await publisher.answer()
        assert [subject for subject, _ in publisher.sent] == ["parked.acme"] * 2
        letter = read_letter("acme", publisher.headers[1] or {})
        assert (letter.tenant_id, letter.uid, letter.reason, letter.attempts) == ("acme", "u1", "buffered", 0)
        assert (letter.log_id, letter.records) == ("1-0", 5)
        await publisher.answer()
        await task

    run(main())


def test_a_buffered_tenant_at_its_cap_is_told_so() -> None:
    async def main() -> None:
        publisher = FakePublisher()
        part = encode_submission(submission(Record("1", "text")))
        task = asyncio.create_task(_commits(publisher).commit(_BUFFERED, [part], now() + _REQUEST_TIMEOUT))
        await settle()
        await publisher.answer(error=BrokerFull("full"))
        assert _outcome(task) is SET_ASIDE_FULL

    run(main())


_outcomes = st.sampled_from([None, None, None, BrokerFull("full"), BrokerUnavailable("away")])
_sizes = st.sampled_from([0, 0, 1000, ENVELOPE_BYTES // 2, _LARGE, 2 * ENVELOPE_BYTES])
_steps = st.one_of(
    st.tuples(st.just("commit"), st.sampled_from(["standard", "t-acme"]), st.lists(_sizes, min_size=1, max_size=3)),
    st.tuples(st.just("answer"), st.integers(0, 5), _outcomes),
    st.tuples(st.just("wait"), st.sampled_from([0.0, 0.5, 1.9, 2.6]), st.none()),
    st.tuples(st.just("give up"), st.integers(0, 9), st.none()),
)


@settings(max_examples=60)
@given(st.lists(_steps, max_size=14), st.integers(1, 3), st.booleans())
def test_whatever_happens_exactly_what_was_acknowledged_is_answered_so(
    steps: list[tuple[Any, Any, Any]],
    in_flight: int,
    answered: bool,
) -> None:
    async def main() -> None:
        publisher = FakePublisher()
        commits = _commits(publisher, in_flight=in_flight)
        acknowledged: set[str] = set()
        requests: list[tuple[str, list[str], asyncio.Task[None]]] = []

        async def answer(place: int, error: Exception | None) -> None:
            if publisher.open:
                place %= len(publisher.open)
                payload = publisher.open[place][1]
                await publisher.answer(place, error)
                if error is None:
                    acknowledged.update(_names(payload))

        for kind, one, other in steps:
            match kind:
                case "commit":
                    names = [f"{one}/{len(requests)}/{place}" for place in range(len(other))]
                    parts = [_submission(name, size) for name, size in zip(names, other, strict=True)]
                    requests.append(
                        (
                            one,
                            names,
                            asyncio.create_task(commits.commit(lane_destination(one), parts, now() + _REQUEST_TIMEOUT)),
                        )
                    )
                    await settle()
                case "answer":
                    await answer(one, other)
                case "wait":
                    await asyncio.sleep(one)
                case "give up" if requests:
                    requests[one % len(requests)][2].cancel()
                    await settle()
            for lane in ("standard", "t-acme"):
                assert sum(subject == f"logs.{lane}" for subject, _, _ in publisher.open) <= in_flight
            assert commits.queued_bytes >= 0
        if answered:
            while publisher.open:
                await answer(0, None)
        await asyncio.sleep(_REQUEST_TIMEOUT + 0.001)

        sent = [name for envelope in _sent(publisher) for name in envelope]
        assert len(sent) == len(set(sent)), "nothing is sent twice"
        for subject, payload in publisher.sent:
            assert {name.partition("/")[0] for name in _names(payload)} == {subject.removeprefix("logs.")}
        for _, names, task in requests:
            assert task.done(), "every call ends"
            if not task.cancelled():
                assert (_outcome(task) is None) == (acknowledged >= set(names))
        assert commits.queued_bytes == 0
        await commits.drain()

    run(main())
