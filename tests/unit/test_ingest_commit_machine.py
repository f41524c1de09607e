"""Group commit against a broker that loses answers, answers late, stores late, stores twice, and says no.

Each schedule is a seeded list of steps in virtual time. What must hold after any of them: a request that was told "yes"
has every part in its own destination; every request is told something by its deadline; nothing lands elsewhere; and
afterwards nothing is held.
"""

import asyncio
from collections import Counter
from enum import Enum
from typing import NamedTuple

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice_core.errors import BrokerFull, BrokerUnavailable, MessageTooLarge, Refusal
from sluice_core.limits import ENVELOPE_BYTES
from sluice_core.reasons import BROKER_FULL, BROKER_UNAVAILABLE
from sluice_ingest.commit import GroupCommit, lane_destination
from unit.virtual import now, run, settle

_PUBLISH_SECONDS = 2.0
_REQUEST_SECONDS = 4.5


class Fate(Enum):
    """What becomes of one publish."""

    ACKNOWLEDGED = "stored, and said so"
    SLOW = "stored after a while, and said so in time"
    ANSWER_LOST = "stored, and nothing is heard"
    STORED_LATE = "stored long after the publisher gave up, as a client's buffer does after reconnecting"
    STORED_TWICE = "stored twice, and said so"
    LOST = "not stored, and nothing is heard"
    DISCONNECTED = "not stored, and said so at once"
    FULL = "refused: the stream is at its limit"
    TOO_LARGE = "refused: larger than the stream takes"


class Step(NamedTuple):
    """A request, or time passing."""

    lane: str
    sizes: tuple[int, ...]
    """Bytes of its submissions; none: time passes instead."""
    pause: float


class _Broker:
    """Deals out fates in order, and the last one for ever."""

    def __init__(self, fates: list[Fate]) -> None:
        self._fates = fates
        self.stored: list[tuple[str, str]] = []
        """Subject and name of each submission, once for each time it was stored."""
        self._later: set[asyncio.Task[None]] = set()

    async def publish(
        self, subject: str, payload: bytes, *, stream: str, timeout: float, headers: dict[str, str] | None = None
    ) -> int:
        assert stream == f"SLUICE_LANE_{subject.removeprefix('logs.')}"
        fate = self._fates.pop(0) if len(self._fates) > 1 else self._fates[0]
        match fate:
            case Fate.DISCONNECTED:
                raise BrokerUnavailable("not connected")
            case Fate.FULL:
                raise BrokerFull("full")
            case Fate.TOO_LARGE:
                raise MessageTooLarge("too large")
            case Fate.LOST | Fate.ANSWER_LOST | Fate.STORED_LATE:
                if fate is Fate.ANSWER_LOST:
                    self._store(subject, payload)
                if fate is Fate.STORED_LATE:
                    self._later.add(asyncio.create_task(self._store_later(subject, payload)))
                await asyncio.sleep(timeout)
                raise BrokerUnavailable("no answer in time")
            case Fate.SLOW:
                await asyncio.sleep(timeout * 0.9)
            case Fate.STORED_TWICE:
                self._store(subject, payload)
            case Fate.ACKNOWLEDGED:
                await asyncio.sleep(0)
        self._store(subject, payload)
        return len(self.stored)

    async def _store_later(self, subject: str, payload: bytes) -> None:
        await asyncio.sleep(60)
        self._store(subject, payload)

    def _store(self, subject: str, payload: bytes) -> None:
        names: list[str] = msgspec.msgpack.decode(payload, type=tuple[int, list[str]])[1]
        assert len(payload) <= ENVELOPE_BYTES or len(names) == 1
        self.stored += [(subject, name.strip()) for name in names]

    async def rest(self) -> None:
        await asyncio.gather(*self._later)


class _Answer(NamedTuple):
    """What a request was told."""

    lane: str
    names: list[str]
    refusal: Refusal | None
    seconds: float


_sizes = st.lists(st.sampled_from([10, 10, 300, 40_000, ENVELOPE_BYTES - 40, ENVELOPE_BYTES + 50]), max_size=4)
_steps = st.lists(
    st.builds(
        Step,
        st.sampled_from(["standard", "standard", "t-big"]),
        _sizes.map(tuple),
        st.sampled_from([0.0, 0.0, 0.0, 0.01, 0.5, 3.0]),
    ),
    min_size=1,
    max_size=30,
)
_fates = st.lists(st.sampled_from(Fate), min_size=1, max_size=30)


@given(_steps, _fates, st.integers(1, 4))
@settings(max_examples=400, deadline=None)
def test_whatever_the_broker_does_a_yes_means_stored(steps: list[Step], fates: list[Fate], in_flight: int) -> None:
    broker = _Broker(list(fates))
    commits = GroupCommit(broker, in_flight=in_flight, publish_timeout=_PUBLISH_SECONDS)

    async def ask(lane: str, number: int, sizes: tuple[int, ...]) -> _Answer:
        names = [f"{number}.{part}" for part in range(len(sizes))]
        submissions = [msgspec.msgpack.encode(name.ljust(size)) for name, size in zip(names, sizes, strict=True)]
        began = now()
        refusal = None
        try:
            await commits.commit(lane_destination(lane), submissions, began + _REQUEST_SECONDS)
        except Refusal as error:
            refusal = error
        return _Answer(lane, names, refusal, now() - began)

    async def main() -> list[_Answer]:
        requests = []
        for number, step in enumerate(steps):
            requests.append(asyncio.create_task(ask(step.lane, number, step.sizes)))
            await asyncio.sleep(step.pause)
        answers = await asyncio.gather(*requests)
        await commits.drain()
        await broker.rest()
        await settle()
        return answers

    answers = run(main())
    judge(answers, broker.stored)
    assert commits.queued_bytes == 0


def judge(answers: list[_Answer], stored: list[tuple[str, str]]) -> None:
    """Raises AssertionError for what contradicts the invariants."""
    count = Counter(stored)
    owners = {name: f"logs.{answer.lane}" for answer in answers for name in answer.names}
    for subject, name in count:
        assert owners[name] == subject, "stored in another lane"
    for answer in answers:
        assert answer.seconds <= _REQUEST_SECONDS, "answered after its deadline"
        if answer.refusal is None:
            assert all(count[f"logs.{answer.lane}", name] for name in answer.names), "a yes that is not stored"
        else:
            assert answer.refusal.reason in {BROKER_UNAVAILABLE, BROKER_FULL}


def test_the_judge_notices_a_yes_that_is_not_stored() -> None:
    answer = _Answer("standard", ["0.0", "0.1"], None, 1.0)
    judge([answer], [("logs.standard", "0.0"), ("logs.standard", "0.1")])
    for stored in ([("logs.standard", "0.0")], [("logs.t-big", "0.0"), ("logs.standard", "0.1")]):
        try:
            judge([answer], stored)
        except AssertionError:
            continue
        raise AssertionError("it did not notice")
