"""What replicas and workers tell each other: together the limit, whatever is lost and whoever comes and goes."""

from collections.abc import Callable
from itertools import count
from random import Random

import pytest

from sluice_core.errors import Refusal
from sluice_core.heartbeat import (
    HEARTBEAT_SECONDS,
    Heartbeat,
    IngestHeartbeat,
    Volume,
    WorkerHeartbeat,
    decode_heartbeat,
    encode_heartbeat,
)
from sluice_core.limits import MIB, Limits
from sluice_core.tenant import TenantConfig
from sluice_ingest.heartbeat import EVERYTHING_TIMES, Conversation
from sluice_ingest.quotas import Quotas
from sluice_ingest.upkeep import has_too_many, is_first
from unit.fakes import config

_RATE = 25
_ASKED = 4 * _RATE
_TENANT = config(limits=Limits(records_per_second=_RATE, bytes_per_second=100 * MIB, burst_seconds=1))
_OTHER = config("beta", limits=_TENANT.limits)


class _Replica:
    """One process of ingest on a shared clock."""

    def __init__(self, world: "_World", tenants: dict[str, TenantConfig]) -> None:
        self.quotas = Quotas(tenants.get, lambda: world.now)
        self.conversation = Conversation(self.quotas, lambda: 7)
        self.accepted = 0

    def send(self, tenant: TenantConfig = _TENANT, records: int = 1, size: int = 10) -> bool:
        try:
            self.quotas.check(tenant)
            with self.quotas.charge(tenant, Volume(records, size)):
                pass
        except Refusal:
            return False
        self.accepted += records
        return True


class _World:
    """Replicas, and a broker that passes on what they say unless it is told to lose it."""

    def __init__(self, replicas: int) -> None:
        self.now = 500.0
        self.tenants = {"acme": _TENANT, "beta": _OTHER}
        self.replicas = [_Replica(self, self.tenants) for _ in range(replicas)]
        self.lost: Callable[[_Replica, _Replica], bool] = lambda _, __: False

    def beat(self) -> None:
        for speaker in self.replicas:
            said = decode_heartbeat(encode_heartbeat(speaker.conversation.speak()))
            for hearer in self.replicas:
                if not self.lost(speaker, hearer):
                    hearer.conversation.hear(said)

    def run(self, seconds: int, step: Callable[[], object]) -> None:
        """Ask four times as often as the limit allows, with heartbeats as they are due."""
        for number in range(seconds * _ASKED):
            if number % int(_ASKED * HEARTBEAT_SECONDS) == 0:
                self.beat()
            step()
            self.now += 1 / _ASKED

    @property
    def accepted(self) -> int:
        return sum(replica.accepted for replica in self.replicas)


def _in_turn(world: _World) -> Callable[[], object]:
    turn = count()
    return lambda: world.replicas[next(turn) % len(world.replicas)].send()


@pytest.mark.parametrize("replicas", [1, 2, 5])
def test_spread_over_replicas_the_sum_is_the_limit(replicas: int) -> None:
    world = _World(replicas)
    world.beat()
    world.run(60, _in_turn(world))
    assert world.accepted == pytest.approx(_RATE * 61, rel=0.1)


def test_all_on_one_replica_the_sum_is_the_limit() -> None:
    world = _World(3)
    world.run(60, world.replicas[0].send)
    assert world.accepted == pytest.approx(_RATE * 61, rel=0.01)


def test_moving_from_replica_to_replica_gains_nothing() -> None:
    world = _World(2)
    for number in range(20):
        world.run(3, world.replicas[number % 2].send)
    assert world.accepted == pytest.approx(_RATE * 61, rel=0.1)


@pytest.mark.parametrize("seed", range(8))
def test_lost_heartbeats_are_made_up_for(seed: int) -> None:
    world = _World(2)
    world.beat()
    random = Random(seed)  # noqa: S311
    world.lost = lambda speaker, hearer: speaker is not hearer and random.random() < 0.3
    world.run(60, _in_turn(world))
    # While two in a row are lost each replica goes by itself; what it took then is owed afterwards.
    assert world.accepted == pytest.approx(_RATE * 61, rel=0.15)


def test_a_replica_that_comes_later_shares_at_once() -> None:
    world = _World(1)
    world.run(30, _in_turn(world))
    world.replicas.append(_Replica(world, world.tenants))
    world.run(30, _in_turn(world))
    # It begins with a burst of its own, since it does not know what was before it.
    assert _RATE * 60 < world.accepted < _RATE * 64


def test_replicas_that_cannot_hear_each_other_forgive_what_was_meanwhile() -> None:
    world = _World(2)
    world.run(5, _in_turn(world))
    world.lost = lambda speaker, hearer: speaker is not hearer
    world.run(60, _in_turn(world))
    world.lost = lambda _, __: False
    world.beat()
    before = world.accepted
    world.run(20, _in_turn(world))
    assert world.accepted - before > _RATE * 10, "nobody is locked out for what he was allowed to do"


def test_our_own_heartbeat_means_nothing_to_us() -> None:
    world = _World(1)
    [replica] = world.replicas
    assert replica.send(records=_RATE)
    for _ in range(20):
        world.beat()
    assert replica.send()
    assert replica.quotas.backlog("acme") == 20


def test_what_an_instance_said_before_it_was_first_heard_is_no_news() -> None:
    world = _World(1)
    [replica] = world.replicas
    old = {"acme": Volume(10**6, 10**9)}
    replica.conversation.hear(_ingest(400, accepted=old, enqueued={"acme": 10**9}))
    assert replica.send()
    assert replica.quotas.backlog("acme") == 10
    replica.conversation.hear(
        _ingest(401, accepted={"acme": Volume(10**6 + 5000, 10**9)}, enqueued={"acme": 10**9 + 90})
    )
    assert not replica.send()
    assert replica.quotas.backlog("acme") == 100


def test_the_first_word_about_a_tenant_from_whoever_was_there_before_is_news() -> None:
    """It said everything when it heard of us, so what it had not said then was nothing."""
    world = _World(1)
    [replica] = world.replicas
    for number in range(400, 400 + EVERYTHING_TIMES):
        replica.conversation.hear(_ingest(number))
    replica.conversation.hear(_ingest(500, accepted={"acme": Volume(5000, 70)}, enqueued={"acme": 70}))
    assert not replica.send()
    assert replica.quotas.backlog("acme") == 70


def test_what_an_instance_says_from_its_start_on_is_all_news() -> None:
    world = _World(1)
    [replica] = world.replicas
    replica.conversation.hear(_ingest(1))
    replica.conversation.hear(_ingest(2, accepted={"acme": Volume(5000, 70)}, enqueued={"acme": 70}))
    assert not replica.send()
    assert replica.quotas.backlog("acme") == 70


def test_everything_is_said_to_whoever_is_new() -> None:
    world = _World(1)
    [replica] = world.replicas
    assert replica.send()
    world.now += 3600
    assert replica.conversation.speak().accepted == {}
    replica.conversation.hear(_ingest(1))
    for _ in range(EVERYTHING_TIMES):
        assert replica.conversation.speak().accepted == {"acme": Volume(1, 10)}
    assert replica.conversation.speak().accepted == {}


def test_an_early_heartbeat_repeats_nothing() -> None:
    world = _World(1)
    [replica] = world.replicas
    assert replica.send()
    replica.conversation.speak()
    world.now += 0.1
    assert replica.send(_OTHER)
    assert replica.conversation.speak(early=True).accepted == {"beta": Volume(1, 10)}
    assert replica.conversation.speak(early=True).accepted == {}
    assert replica.conversation.speak().accepted.keys() == {"acme", "beta"}


def test_a_heartbeat_says_who_where_it_is_and_whether_it_is_the_last() -> None:
    [replica] = _World(1).replicas
    first, last = replica.conversation.speak(), replica.conversation.speak(stopping=True)
    assert (first.number, first.seen, first.stopping) == (1, 7, False)
    assert (last.number, last.stopping) == (2, True)
    assert first.instance == last.instance == replica.conversation.instance


def test_the_last_words_count() -> None:
    world = _World(1)
    [replica] = world.replicas
    replica.conversation.hear(_ingest(1))
    replica.conversation.hear(_ingest(2, accepted={"acme": Volume(5000, 70)}, stopping=True))
    assert not replica.send()


# -- workers ---------------------------------------------------------------------------------------------------------


def test_what_workers_settle_leaves_the_backlog_once() -> None:
    world = _World(1)
    [replica] = world.replicas
    assert replica.send(size=1000)
    for number in range(1, 5):
        replica.conversation.hear(_worker(number, settled={"acme": 300}))
    replica.conversation.hear(_worker(1, "other", settled={"acme": 500}))
    assert replica.quotas.backlog("acme") == 200


def test_a_worker_heard_late_is_a_starting_point() -> None:
    world = _World(1)
    [replica] = world.replicas
    assert replica.send(size=1000)
    replica.conversation.hear(_worker(50, settled={"acme": 10**9}))
    replica.conversation.hear(_worker(51, settled={"acme": 10**9 + 400, "beta": 10**9}))
    assert replica.quotas.backlog("acme") == 600


def test_a_lane_is_idle_when_every_worker_has_said_so_ever_since() -> None:
    [replica] = _World(1).replicas
    conversation = replica.conversation
    one, two = _worker(1, "one", idle=True), _worker(1, "two", idle=True)
    assert conversation.idle_lanes([]) == set()
    conversation.hear(one)
    assert conversation.idle_lanes([one]) == {"standard"}
    assert conversation.idle_lanes([one]) == set(), "it has said nothing since"
    conversation.hear(one)
    assert conversation.idle_lanes([one, two]) == set(), "the other one has not"
    conversation.hear(one)
    conversation.hear(two)
    conversation.hear(_worker(2, "two"))
    conversation.hear(_worker(3, "two", idle=True))
    assert conversation.idle_lanes([one, two]) == set(), "it was busy meanwhile"


# -- who and how many ------------------------------------------------------------------------------------------------


def test_the_lowest_instance_of_ingest_that_lives_is_first() -> None:
    live: list[Heartbeat] = [_ingest(9, instance="b"), _worker(1, "a")]
    assert is_first("a", live)
    assert is_first("b", live)
    assert not is_first("c", live)
    assert is_first("c", [])


def test_a_tenant_has_too_many_letters_before_its_cap_stops_what_is_on_its_way() -> None:
    counts = {"parked.a": 899, "dlq.a": 899, "parked.b": 900, "dlq.c": 1000, "dlq.d": 1}
    assert has_too_many(counts, 1000) == {"b", "c"}


def _ingest(
    number: int,
    *,
    instance: str = "somebody",
    accepted: dict[str, Volume] | None = None,
    enqueued: dict[str, int] | None = None,
    stopping: bool = False,
) -> IngestHeartbeat:
    return IngestHeartbeat(
        instance=instance,
        number=number,
        seen=1,
        accepted=accepted or {},
        enqueued=enqueued or {},
        stopping=stopping,
    )


def _worker(
    number: int, instance: str = "worker", *, settled: dict[str, int] | None = None, idle: bool = False
) -> WorkerHeartbeat:
    return WorkerHeartbeat(instance=instance, number=number, seen=1, lane="standard", settled=settled or {}, idle=idle)
