"""What goes back into its lane, when, and as what."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_core.edge.broker import Broker
from sluice_core.envelope import Record, Submission, decode_envelope, encode_envelope
from sluice_core.errors import BrokerFull, BrokerUnavailable
from sluice_core.letter import Letter, StoredLetter, letter_headers, read_letter
from sluice_core.limits import MIB
from sluice_core.tenant import TenantConfig
from sluice_ingest.merging import MERGE_AGAIN, MERGE_FROM
from sluice_ingest.quotas import Quotas
from sluice_ingest.returner import Returner
from sluice_ingest.returning import (
    MOST_IN_LANE,
    RETURN_BYTES,
    Trials,
    Turn,
    in_parts,
    is_due,
    plan,
    read_time,
    take_up,
)
from unit.fakes import FakeMsg, FakeView, config, envelope, submission
from unit.virtual import run

_SECOND = 1_000_000_000
_STORED_AT = "2026-01-02T03:04:05.000000007Z"
_STORED = 1_767_323_045 * _SECOND + 7


# -- whose turn it is ------------------------------------------------------------------------------------------------


def _plan(
    tenants: list[TenantConfig], parked: dict[str, int], *, refused: set[str] | None = None, backlog: int = 0
) -> list[Turn]:
    view = FakeView(*tenants)
    return plan(parked, view.tenant, refused or set(), lambda _: backlog, Trials(), 0.0)


def test_whoever_has_letters_and_is_not_refused_gets_them_back() -> None:
    assert _plan([config(), config("beta")], {"acme": 7, "beta": 0}) == [Turn(config())]


@pytest.mark.parametrize("suspension", ["Reject", "Drop"])
def test_what_was_accepted_before_a_suspension_goes_back(suspension: str) -> None:
    assert len(_plan([config(suspension=suspension)], {"acme": 1})) == 1


@pytest.mark.parametrize("tenant", [config(suspension="Buffer"), config(state="gone"), config("beta")])
def test_what_is_buffered_or_of_nobody_stays(tenant: TenantConfig) -> None:
    assert _plan([tenant], {"acme": 7}) == []


def test_a_full_lane_gets_no_more() -> None:
    assert _plan([config()], {"acme": 7}, backlog=MOST_IN_LANE) == []
    small = config(limits=msgspec.structs.replace(config().limits, max_backlog_bytes=MIB))
    assert _plan([small], {"acme": 7}, backlog=MIB) == []
    assert len(_plan([small], {"acme": 7}, backlog=MIB - 1)) == 1


def test_whoever_is_refused_is_tried_with_one_letter() -> None:
    assert _plan([config(), config("beta")], {"acme": 70, "beta": 70}, refused={"acme"}) == [
        Turn(config(), 1),
        Turn(config("beta")),
    ]


def _tries(trials: Trials, parked: int, seconds: range, *, back: bool) -> list[tuple[int, int]]:
    """When how many letters were tried."""
    found = []
    for now in seconds:
        if letters := trials.due("acme", parked, float(now)):
            found.append((now, letters))
            parked -= 0 if back else letters
    return found


def test_trials_that_come_back_become_rare() -> None:
    moments = [now for now, letters in _tries(Trials(), 100, range(200), back=True) if letters == 1]
    assert moments == [0, 1, 3, 7, 15, 31, 61, 91, 121, 151, 181]


def test_trials_that_do_not_come_back_become_more() -> None:
    tries = _tries(Trials(), 1000, range(10), back=False)
    assert [letters for _, letters in tries] == [1, 2, 4, 8, 16, 32, 64, 64, 64, 64]


def test_the_first_that_comes_back_makes_it_one_again() -> None:
    trials = Trials()
    _tries(trials, 1000, range(5), back=False)
    assert _tries(trials, 1000, range(5, 7), back=True) == [(5, 1)]


def test_a_tenant_that_is_not_refused_any_more_begins_anew() -> None:
    trials = Trials()
    _tries(trials, 10, range(100), back=True)
    trials.keep_only([])
    assert trials.due("acme", 10, 100.0) == 1


@pytest.mark.parametrize(("attempts", "seconds"), [(0, 0), (1, 1), (2, 2), (3, 4), (6, 30), (10_000, 30)])
def test_a_letter_that_came_back_waits_longer_each_time(attempts: int, seconds: int) -> None:
    assert is_due(attempts, 0, seconds * _SECOND)
    assert seconds == 0 or not is_due(attempts, 0, seconds * _SECOND - 1)


def test_a_clock_behind_the_brokers_holds_nothing() -> None:
    assert is_due(5, 3600 * _SECOND, 0)


# -- as what ---------------------------------------------------------------------------------------------------------


def _letter(*parts: Submission, sequence: int = 40) -> StoredLetter:
    return StoredLetter(sequence, _STORED_AT, Letter(tenant_id="acme", reason="buffered"), envelope(*parts))


def _read(parts: list[bytes]) -> list[Submission]:
    return decode_envelope(encode_envelope(parts)).submissions


def test_a_buffered_record_gets_the_version_of_its_letter() -> None:
    one = submission(Record("a", "1"), Record(None, "2"))
    two = submission(Record("b", "3"))
    back = take_up(_letter(one, two), [one, two], config())
    first, second = _read(back.submissions)
    assert (first.accepted_as, first.positions) == ((_STORED, 40), [0, 1])
    assert (second.accepted_as, second.positions) == ((_STORED, 40), [2])
    assert [first.log_id(0), first.log_id(1)] == [one.log_id(0), one.log_id(1)]
    assert back.size == sum(map(len, back.submissions))


def test_a_record_that_was_in_a_lane_keeps_its_version_and_its_attempts() -> None:
    part = submission(Record("a", "1"), accepted_as=(5, 6), positions=[7], attempts=3)
    assert _read(take_up(_letter(part), [part], config()).submissions) == [part]


def test_records_of_an_earlier_provisioning_do_not_go_back() -> None:
    mine, old = submission(Record("a", "1")), submission(Record("b", "2"), Record("c", "3"), uid="u0")
    stranger = submission(Record("d", "4"), tenant_id="beta")
    back = take_up(_letter(old, mine, stranger), [old, mine, stranger], config())
    [kept] = _read(back.submissions)
    assert (kept.log_id(0), kept.positions) == ("a", [2])
    assert back.strangers == 3


@pytest.mark.parametrize(
    ("stamp", "nanoseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:01.5Z", 1_500_000_000),
        ("2026-01-02T03:04:05.123456789Z", 1_767_323_045_123_456_789),
    ],
)
def test_the_brokers_time_is_read_to_the_nanosecond(stamp: str, nanoseconds: int) -> None:
    assert read_time(stamp) == nanoseconds


# -- moving ----------------------------------------------------------------------------------------------------------


class _Letters(Broker):
    """The stream of letters, and a lane."""

    def __init__(self, *letters: StoredLetter) -> None:
        self.letters = {letter.sequence: letter for letter in letters}
        self.lane: list[bytes] = []
        self.full = False
        self.down_after_publish = False
        self.pages = 0

    async def stream_of_replies(self, subject: str, payload: bytes, timeout: float) -> AsyncGenerator[Any, None]:
        self.pages += 1
        request = msgspec.json.decode(payload)
        found = [letter for sequence, letter in sorted(self.letters.items()) if sequence >= request["seq"]]
        for letter in found[: request["batch"]]:
            place = {"Nats-Sequence": str(letter.sequence), "Nats-Time-Stamp": letter.stored_at}
            yield FakeMsg(letter.payload, headers={**letter_headers(letter.letter), **place})
        yield FakeMsg(headers={"Status": "204", "Nats-Num-Pending": "0"})

    async def publish(
        self, subject: str, payload: bytes, *, stream: str, timeout: float, headers: dict[str, str] | None = None
    ) -> int:
        if subject == "parked.acme":
            sequence = max(self.letters) + 1
            self.letters[sequence] = StoredLetter(sequence, _STORED_AT, read_letter("acme", headers or {}), payload)
            return sequence
        assert (subject, stream) == ("logs.standard", "SLUICE_LANE_standard")
        if self.full:
            raise BrokerFull("full")
        self.lane.append(payload)
        return len(self.lane)

    async def api(self, call: str, body: Any = None, *, timeout: float = 5.0) -> dict[str, Any]:
        assert call == "STREAM.MSG.DELETE.SLUICE_DLQ"
        if self.down_after_publish:
            raise BrokerUnavailable("away")
        del self.letters[body["seq"]]
        return {}

    @property
    def ids(self) -> list[str]:
        return [part.log_id(0) for payload in self.lane for part in decode_envelope(payload).submissions]


def _parked(number: int, *, size: int = 1, uid: str = "u1", attempts: int = 0) -> StoredLetter:
    part = submission(
        Record(f"r{number}", "x" * size), uid=uid, accepted_as=(number, 1), positions=[0], attempts=attempts
    )
    return _letter(part, sequence=number)


def _move(
    broker: _Letters, *, view: FakeView | None = None, refused: set[str] | None = None, rounds: int = 1
) -> Quotas:
    view = view or FakeView(config())
    quotas = Quotas(view.tenant, lambda: 0.0)

    async def main() -> None:
        returner = Returner(broker, view, quotas)
        for _ in range(rounds):
            await returner.run_round({"acme": len(broker.letters)}, refused or set())
            await asyncio.sleep(1)

    run(main())
    return quotas


def test_letters_go_back_in_order_and_leave_where_they_were() -> None:
    broker = _Letters(*(_parked(number) for number in range(1, 101)))
    quotas = _move(broker)
    assert broker.letters == {}
    assert broker.ids == [f"r{number}" for number in range(1, 101)]
    assert quotas.backlog("acme") == sum(decode_envelope(payload).sizes[0] for payload in broker.lane)


def test_of_a_refused_tenant_only_the_oldest_is_tried() -> None:
    broker = _Letters(*(_parked(number, attempts=9) for number in range(1, 101)))
    _move(broker, refused={"acme"})
    assert broker.ids == ["r1"]


def test_no_more_goes_back_than_the_lane_has_room_for() -> None:
    broker = _Letters(*(_parked(number, size=MIB) for number in range(1, 41)))
    _move(broker)
    assert MOST_IN_LANE <= sum(map(len, broker.lane)) <= 2 * MOST_IN_LANE


def test_where_the_lane_is_full_a_letter_stays_and_is_no_backlog() -> None:
    broker = _Letters(*(_parked(number) for number in range(1, 41)))
    broker.full = True
    quotas = _move(broker, rounds=3)
    assert len(broker.letters) == 40
    assert quotas.backlog("acme") == 0


def test_a_letter_that_could_not_be_removed_goes_back_again() -> None:
    """What comes second has the same ids and versions, so it is a duplicate."""
    broker = _Letters(_parked(1))
    broker.down_after_publish = True
    _move(broker)
    broker.down_after_publish = False
    _move(broker)
    assert broker.letters == {}
    assert broker.lane[0] == broker.lane[1]


def test_letters_of_an_earlier_provisioning_are_removed_after_a_re_read() -> None:
    broker = _Letters(_parked(1, uid="u0"), _parked(2))
    view = FakeView(config())
    _move(broker, view=view)
    assert view.confirms == 1
    assert (broker.letters, broker.ids) == ({}, ["r2"])


def test_nothing_is_thrown_away_on_the_word_of_an_old_view() -> None:
    broker = _Letters(_parked(1, uid="u2"))
    view = FakeView(config())
    view.on_confirm = lambda: view.set(config(uid="u2", revision=2))
    _move(broker, view=view)
    assert (len(broker.letters), broker.ids) == (1, [])
    _move(broker, view=view)
    assert (broker.letters, broker.ids) == ({}, ["r1"])


def test_nothing_is_thrown_away_while_the_tenants_cannot_be_read() -> None:
    broker = _Letters(_parked(1, uid="u0"))
    view = FakeView(config())
    view.readable = False
    _move(broker, view=view)
    assert len(broker.letters) == 1


def test_a_letter_that_cannot_be_read_is_passed_over() -> None:
    garbage = StoredLetter(1, _STORED_AT, Letter(tenant_id="acme", reason="x"), b"\xc1")
    broker = _Letters(garbage, _parked(2))
    _move(broker)
    assert (list(broker.letters), broker.ids) == ([1], ["r2"])
    broker = _Letters(garbage, _parked(2))
    _move(broker, refused={"acme"})
    assert broker.ids == ["r2"]


def test_a_letter_that_has_to_wait_holds_no_other_up() -> None:
    now = "2999-01-01T00:00:00Z"
    waiting = msgspec.structs.replace(_parked(1, attempts=9), stored_at=_recent())
    broker = _Letters(waiting, _parked(2, attempts=9), msgspec.structs.replace(_parked(3, attempts=9), stored_at=now))
    _move(broker)
    assert broker.ids == ["r2", "r3"]


def _recent() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def test_tenants_take_turns() -> None:
    broker = _Letters(*(_parked(number) for number in range(1, 4)))
    view = FakeView(config(), config("beta"), config("gamma"))
    seen: list[str] = []

    class Watched(Returner):
        async def _move_page(self, turn: Turn, after: int) -> tuple[int | None, int]:
            seen.append(turn.tenant.tenant_id)
            if turn.tenant.tenant_id == "acme":
                raise BrokerUnavailable("away")
            return None, 0

    async def main() -> None:
        returner = Watched(broker, view, Quotas(view.tenant, lambda: 0.0))
        for _ in range(3):
            await returner.run_round({"acme": 1, "beta": 1, "gamma": 1}, set())

    run(main())
    assert len(seen) == 9, "one tenant's trouble is no other's"
    assert {seen[0], seen[3], seen[6]} == {"acme", "beta", "gamma"}


# -- merging ---------------------------------------------------------------------------------------------------------

_BUFFERED = config(suspension="Buffer")


def _buffered(number: int, *, size: int = 1, uid: str = "u1") -> StoredLetter:
    return _letter(submission(Record(f"r{number}", "x" * size), uid=uid), sequence=number)


def _versions(broker: _Letters) -> dict[str, tuple[int, int]]:
    """What is parked, by id, as it would go back."""
    found = {}
    for letter in broker.letters.values():
        submissions = letter.submissions()
        assert submissions is not None
        for part in _read(take_up(letter, submissions, config()).submissions):
            assert part.accepted_as is not None
            found[part.log_id(0)] = part.accepted_as
    return found


def test_many_small_letters_become_few_and_keep_their_versions() -> None:
    broker = _Letters(*(_buffered(number) for number in range(1, MERGE_FROM + 101)))
    before = _versions(broker)
    _move(broker, view=FakeView(_BUFFERED), rounds=20)
    assert len(broker.letters) <= MERGE_FROM
    assert _versions(broker) == before
    assert {letter.letter.reason for letter in broker.letters.values()} == {"buffered"}
    assert broker.lane == []
    _move(broker, rounds=5)
    assert (broker.letters, len(broker.ids)) == ({}, MERGE_FROM + 100)


def test_few_letters_or_large_ones_stay_as_they_are() -> None:
    few = _Letters(*(_buffered(number) for number in range(1, MERGE_FROM)))
    large = _Letters(*(_buffered(number, size=200_000) for number in range(1, MERGE_FROM + 10)))
    for broker in (few, large):
        before = set(broker.letters)
        _move(broker, view=FakeView(_BUFFERED), rounds=8)
        assert set(broker.letters) == before


def test_what_was_looked_at_in_vain_is_not_read_again_and_again() -> None:
    broker = _Letters(*(_buffered(number, size=200_000) for number in range(1, MERGE_FROM + 10)))
    _move(broker, view=FakeView(_BUFFERED), rounds=100)
    assert broker.pages <= MERGE_FROM // MERGE_AGAIN + 2


def test_letters_of_others_and_of_workers_are_not_merged() -> None:
    strangers = [_buffered(number, uid="u0") for number in range(1, MERGE_FROM)]
    parked = [
        msgspec.structs.replace(_parked(number), letter=Letter(tenant_id="acme", reason="store_refuses"))
        for number in range(MERGE_FROM, 2 * MERGE_FROM)
    ]
    broker = _Letters(*strangers, *parked)
    _move(broker, view=FakeView(_BUFFERED), rounds=20)
    assert len(broker.letters) == 2 * MERGE_FROM - 1


@given(st.lists(st.integers(0, 3 * RETURN_BYTES), max_size=12))
def test_what_goes_back_goes_in_small_envelopes_and_whole(sizes: list[int]) -> None:
    submissions = [bytes([number]) * size for number, size in enumerate(sizes)]
    parts = list(in_parts(submissions))
    assert [one for part in parts for one in part] == submissions
    assert all(part for part in parts)
    assert all(len(part) == 1 or sum(map(len, part)) <= RETURN_BYTES for part in parts)
