"""Replay: what may go back, as what, in which order, and when it stops."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_cli.letter_filter import LetterFilter
from sluice_cli.letter_replay import Obstacle, Replay, replayable
from sluice_core.edge import letters as letters_edge
from sluice_core.envelope import Record, Submission, decode_envelope, encode_envelope, encode_submission
from sluice_core.errors import BrokerError, BrokerFull, BrokerUnavailable, TenantNotFound
from sluice_core.letter import Letter, StoredLetter
from sluice_core.tenant import TenantConfig


def submission(*texts: str, tenant_id: str = "acme", uid: str = "u1", **fields: Any) -> Submission:
    records = [Record(f"id-{text}", text) for text in texts]
    return Submission(tenant_id, uid, "req", "json_upload", 1, bytes(16), 0, records, **fields)


def stored(*submissions: Submission, sequence: int = 9, payload: bytes | None = None) -> StoredLetter:
    if payload is None:
        payload = encode_envelope([encode_submission(one) for one in submissions])
    count = sum(len(one.records) for one in submissions)
    head = Letter(tenant_id="acme", reason="write_refused", records=count)
    return StoredLetter(sequence, "2026-01-02T03:04:05.000000123Z", head, payload)


TENANT = TenantConfig(tenant_id="acme", uid="u1", revision=1)
ACCEPTED: dict[str, Any] = {"accepted_as": (5, 6), "positions": [3]}


def test_what_was_in_a_lane_goes_back_byte_for_byte() -> None:
    letter = stored(submission("a", **ACCEPTED), submission("b", **ACCEPTED))
    assert replayable(letter, TENANT) == letter.payload


@given(st.lists(st.integers(1, 3), min_size=1, max_size=4))
def test_what_never_was_in_a_lane_gets_the_version_of_when_it_was_set_aside(sizes: list[int]) -> None:
    parked = [submission(*(f"{number}.{place}" for place in range(size))) for number, size in enumerate(sizes)]
    payload = replayable(stored(*parked), TENANT)
    assert isinstance(payload, bytes)
    replayed = decode_envelope(payload).submissions
    assert [one.records for one in replayed] == [one.records for one in parked]
    # 2026-01-02T03:04:05 UTC, to the nanosecond.
    assert {one.accepted_as for one in replayed} == {(1_767_323_045_000_000_123, 9)}
    assert [position for one in replayed for position in one.positions or ()] == list(range(sum(sizes)))


@pytest.mark.parametrize(
    ("letter", "why"),
    [
        (stored(submission("a", uid="u0", **ACCEPTED)), Obstacle.EARLIER),
        (stored(submission("a", **ACCEPTED), submission("b", uid="u0", **ACCEPTED)), Obstacle.EARLIER),
        (stored(submission("a", tenant_id="other", **ACCEPTED)), Obstacle.OTHER_TENANT),
        (stored(payload=b"garbage"), Obstacle.UNREADABLE),
        (stored(), Obstacle.UNREADABLE),
    ],
)
def test_what_is_not_this_tenants_own_or_cannot_be_read_stays(letter: StoredLetter, why: Obstacle) -> None:
    assert replayable(letter, TENANT) is why


class World:
    """A tenant, its letters, and a broker that may fail at the n-th publish."""

    def __init__(self, letters: list[StoredLetter], *, fail_at: int = -1, error: BrokerError | None = None) -> None:
        self.letters = letters
        self.fail_at = fail_at
        self.error = error
        self.events: list[tuple[str, Any]] = []
        self.lane = "standard"
        self.gone_at = -1
        self.broker = self
        self.provisioner = self

    async def publish(self, subject: str, payload: bytes, *, stream: str, timeout: float) -> int:
        if len(self.published()) == self.fail_at and self.error is not None:
            raise self.error
        self.events.append(("publish", (subject, stream, payload)))
        return 1

    def published(self) -> list[Any]:
        return [what for event, what in self.events if event == "publish"]

    async def find(self, tenant_id: str) -> Any:
        if self.gone_at == 0:
            raise TenantNotFound("gone")
        self.gone_at -= 1
        return SimpleNamespace(config=TenantConfig(tenant_id=tenant_id, uid="u1", revision=1, lane=self.lane))

    async def walk(self, _broker: object, subject: str, *, last: int) -> AsyncIterator[StoredLetter]:
        assert subject == "dlq.acme"
        for letter in self.letters:
            if letter.sequence <= last:
                yield letter

    async def remove(self, _broker: object, sequence: int) -> bool:
        self.events.append(("remove", sequence))
        return True

    def replay(self, monkeypatch: pytest.MonkeyPatch, chosen: LetterFilter, last: int = 1000) -> Replay:
        monkeypatch.setattr(letters_edge, "walk_letters", self.walk)
        monkeypatch.setattr(letters_edge, "remove_letter", self.remove)
        return Replay(cast("Any", self), "acme", "dlq.acme", chosen, last=last)


def many(count: int) -> list[StoredLetter]:
    return [stored(submission(str(number), **ACCEPTED), sequence=number) for number in range(1, count + 1)]


def test_each_letter_is_removed_after_it_was_published_and_never_before(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(many(3))
    heard: list[None] = []
    outcome = asyncio.run(world.replay(monkeypatch, LetterFilter()).run(lambda: heard.append(None)))
    assert [event for event, _ in world.events] == ["publish", "remove"] * 3
    assert [what for event, what in world.events if event == "remove"] == [1, 2, 3]
    assert world.published()[0] == ("logs.standard", "SLUICE_LANE_standard", world.letters[0].payload)
    assert (outcome.replayed.letters, outcome.replayed.records, len(heard), outcome.stopped) == (3, 3, 3, "")


def test_letters_that_came_after_the_beginning_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(many(5))
    outcome = asyncio.run(world.replay(monkeypatch, LetterFilter(), last=2).run(lambda: None))
    assert outcome.sequences == {1, 2}


def test_only_what_the_filter_takes_is_replayed_and_obstacles_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = stored(submission("x", uid="u0", **ACCEPTED), sequence=4)
    world = World([*many(3), foreign])
    chosen = LetterFilter(sequences=frozenset({2, 4, 77}))
    planned = asyncio.run(world.replay(monkeypatch, chosen).survey())
    assert world.events == []
    done = asyncio.run(world.replay(monkeypatch, chosen).run(lambda: None))
    for outcome in (planned, done):
        assert outcome.replayed.sequences == {2}
        assert outcome.sequences == {2, 4}
        assert outcome.obstacles == {Obstacle.EARLIER: 1}
        assert outcome.lane == "standard"
    assert [what for event, what in world.events if event == "remove"] == [2]


@pytest.mark.parametrize(
    ("error", "says"),
    [(BrokerFull("full"), "lane standard is full"), (BrokerUnavailable("no answer"), "no answer: run this again")],
)
def test_it_stops_where_the_broker_does_not_take_more(
    monkeypatch: pytest.MonkeyPatch, error: BrokerError, says: str
) -> None:
    world = World(many(5), fail_at=2, error=error)
    outcome = asyncio.run(world.replay(monkeypatch, LetterFilter()).run(lambda: None))
    assert says in outcome.stopped
    assert outcome.replayed.letters == 2
    assert [what for event, what in world.events if event == "remove"] == [1, 2]


def test_it_notices_that_the_tenant_went_and_to_which_lane_it_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(many(100))
    world.gone_at = 2
    outcome = asyncio.run(world.replay(monkeypatch, LetterFilter()).run(lambda: None))
    assert "tenant acme is gone" in outcome.stopped
    assert 0 < outcome.replayed.letters < 100

    moving = World(many(100))
    replay = moving.replay(monkeypatch, LetterFilter())

    def move() -> None:
        moving.lane = "t-acme"

    outcome = asyncio.run(replay.run(move))
    assert outcome.lane == "t-acme"
    assert {subject for subject, _, _ in moving.published()} == {"logs.standard", "logs.t-acme"}
