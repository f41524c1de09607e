"""Quotas: a debt is paid before more is taken, nobody's numbers touch another's, and what failed costs nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_core.errors import Refusal
from sluice_core.heartbeat import LIVE_SECONDS, Volume
from sluice_core.limits import MIB, Limits
from sluice_core.reasons import BACKLOG_FULL, RATE_LIMITED, SET_ASIDE_FULL
from sluice_core.tenant import TenantConfig
from sluice_ingest.quotas import Quotas
from sluice_ingest.rate import Rate
from unit.fakes import config, refused

_LIMITS = Limits(records_per_second=100, bytes_per_second=10_000, burst_seconds=2, max_backlog_bytes=MIB)
_A_MOMENT = 1e-6


def _rate(limits: Limits = _LIMITS) -> Rate:
    return Rate(limits, 1000.0)


def _wait(rate: Rate, now: float, limits: Limits = _LIMITS) -> float:
    with refused(RATE_LIMITED) as caught:
        rate.check(limits, now)
    return caught.value.retry_after


# -- one tenant's rates ----------------------------------------------------------------------------------------------


def test_the_burst_is_there_at_once_and_then_the_rate() -> None:
    rate = _rate()
    for _ in range(200):
        rate.check(_LIMITS, 1000.0)
        rate.take(Volume(1, 1), 1000.0)
    rate.take(Volume(1, 1), 1000.0)
    assert _wait(rate, 1000.0) == pytest.approx(0.01)
    rate.check(_LIMITS, 1000.01 + _A_MOMENT)


def test_a_batch_larger_than_the_burst_is_taken_and_paid_for_in_full() -> None:
    rate = _rate()
    rate.check(_LIMITS, 1000.0)
    rate.take(Volume(1200, 1), 1000.0)
    assert _wait(rate, 1000.0) == pytest.approx(10)
    assert _wait(rate, 1009.0) == pytest.approx(1)
    rate.check(_LIMITS, 1010.0 + _A_MOMENT)


def test_whoever_waits_as_told_is_taken() -> None:
    rate = _rate()
    rate.take(Volume(777, 54_321), 1000.0)
    wait = _wait(rate, 1000.5)
    rate.check(_LIMITS, 1000.5 + wait + _A_MOMENT)


@pytest.mark.parametrize(
    ("volume", "named"),
    [(Volume(900, 10), "100 records"), (Volume(10, 90_000), "10000 bytes")],
    ids=["records", "bytes"],
)
def test_the_refusal_names_the_limit_that_was_hit(volume: Volume, named: str) -> None:
    rate = _rate()
    rate.take(volume, 1000.0)
    with refused(RATE_LIMITED) as caught:
        rate.check(_LIMITS, 1000.0)
    assert named in caught.value.detail


def test_what_is_not_used_is_kept_for_the_burst_only() -> None:
    rate = _rate()
    rate.take(Volume(200, 1), 1000.0)
    rate.take(Volume(300, 1), 2000.0)
    assert _wait(rate, 2000.0) == pytest.approx(1)


def test_a_charge_that_is_given_back_leaves_nothing() -> None:
    rate = _rate()
    rate.take(Volume(300, 20_000), 1000.0)
    rate.take(Volume(5000, 90_000), 1000.0)
    rate.give_back(Volume(5000, 90_000))
    assert _wait(rate, 1000.0) == pytest.approx(1)


def test_a_higher_limit_ends_a_debt_sooner_and_a_lower_one_later() -> None:
    rate = _rate()
    rate.take(Volume(1200, 1), 1000.0)
    higher = Limits(records_per_second=1000, bytes_per_second=10_000, burst_seconds=2)
    assert _wait(rate, 1000.0, higher) == pytest.approx(1)
    assert _wait(rate, 1000.0, _LIMITS) == pytest.approx(10)


def test_what_another_replica_took_at_an_unknown_time_locks_nobody_out() -> None:
    rate = _rate()
    rate.take_unsure(Volume(1_000_000, 1_000_000_000), 1000.0)
    assert _wait(rate, 1000.0) <= _LIMITS.burst_seconds + LIVE_SECONDS


def test_an_unsure_number_forgives_no_debt() -> None:
    rate = _rate()
    rate.take(Volume(100_000, 1), 1000.0)
    owed = _wait(rate, 1000.0)
    rate.take_unsure(Volume(10, 10), 1000.0)
    assert _wait(rate, 1000.0) == pytest.approx(owed)


@given(
    st.lists(st.tuples(st.floats(0, 3), st.integers(1, 500), st.integers(1, 50_000)), min_size=1, max_size=60),
    st.integers(1, 500),
    st.integers(1, 5),
)
def test_over_any_time_no_more_is_taken_than_the_limits_allow(
    requests: list[tuple[float, int, int]], per_second: int, burst: int
) -> None:
    limits = Limits(records_per_second=per_second, bytes_per_second=10_000, burst_seconds=burst)
    rate, now = Rate(limits, 0.0), 0.0
    taken: list[tuple[float, int, int]] = []
    for pause, records, size in requests:
        now += pause
        try:
            rate.check(limits, now)
        except Refusal:
            continue
        rate.take(Volume(records, size), now)
        taken.append((now, records, size))
    for start in range(len(taken)):
        span = taken[start:]
        # The last request may go into debt; whatever was taken before it was paid for.
        for end in range(len(span)):
            seconds = span[end][0] - span[0][0] + burst
            assert sum(records for _, records, _ in span[:end]) <= per_second * seconds + 1e-6
            assert sum(size for _, _, size in span[:end]) <= 10_000 * seconds + 1e-3


# -- all tenants -----------------------------------------------------------------------------------------------------


class _World:
    """A clock, and the tenants there are."""

    def __init__(self, *tenants: TenantConfig) -> None:
        self.now = 1000.0
        self.tenants = {tenant.tenant_id: tenant for tenant in tenants}
        self.quotas = Quotas(self.tenants.get, lambda: self.now)


_ACME = config(limits=_LIMITS)
_BETA = config("beta", limits=_LIMITS)


def _send(world: _World, tenant: TenantConfig, records: int = 1, size: int = 1) -> None:
    world.quotas.check(tenant)
    with world.quotas.charge(tenant, Volume(records, size)):
        pass


def test_one_tenant_in_debt_is_no_other_tenants_business() -> None:
    world = _World(_ACME, _BETA)
    _send(world, _ACME, records=1000)
    with refused(RATE_LIMITED):
        world.quotas.check(_ACME)
    _send(world, _BETA)


def test_of_requests_that_began_together_those_that_come_into_debt_are_refused() -> None:
    world = _World(_ACME)
    for _ in range(3):
        world.quotas.check(_ACME)
    with world.quotas.charge(_ACME, Volume(300, 1)), refused(RATE_LIMITED):
        world.quotas.charge(_ACME, Volume(300, 1))


def test_what_did_not_become_durable_is_charged_to_nobody() -> None:
    world = _World(_ACME)
    with pytest.raises(RuntimeError), world.quotas.charge(_ACME, Volume(5000, 2 * MIB)):
        raise RuntimeError
    world.quotas.check(_ACME)
    assert world.quotas.backlog("acme") == 0
    assert list(world.quotas.changed(0)) == []


def test_what_waits_for_its_commit_counts_already() -> None:
    world = _World(_ACME)
    with world.quotas.charge(_ACME, Volume(5000, 1)), refused(RATE_LIMITED):
        world.quotas.check(_ACME)


def test_what_others_accept_is_charged_here_too() -> None:
    world = _World(_ACME)
    world.quotas.hear_accepted("acme", Volume(1000, 1), unsure=False)
    with refused(RATE_LIMITED):
        world.quotas.check(_ACME)


def test_a_backlog_over_its_limit_is_refused_until_it_is_settled() -> None:
    world = _World(_ACME)
    world.quotas.hear_enqueued("acme", MIB)
    with refused(BACKLOG_FULL) as caught:
        world.quotas.check(_ACME)
    assert str(MIB) in caught.value.detail
    assert caught.value.retry_after >= 1
    world.quotas.hear_settled("acme", 1000)
    world.quotas.check(_ACME)


def test_what_is_buffered_is_no_backlog_and_waits_for_none() -> None:
    buffered = config(limits=_LIMITS, suspension="Buffer")
    world = _World(buffered)
    world.quotas.hear_enqueued("acme", MIB)
    _send(world, buffered, size=500)
    assert world.quotas.backlog("acme") == MIB
    [(_, account)] = world.quotas.changed(0)
    assert (account.accepted, account.enqueued) == (Volume(1, 500), 0)


def test_what_is_returned_is_backlog_and_costs_no_rate() -> None:
    world = _World(_ACME)
    with world.quotas.charge_returned(_ACME, MIB - 1):
        pass
    assert world.quotas.backlog("acme") == MIB - 1
    world.quotas.check(_ACME)
    [(_, account)] = world.quotas.changed(0)
    assert (account.accepted, account.enqueued) == (Volume(0, 0), MIB - 1)


def test_a_letter_that_could_not_be_returned_is_no_backlog() -> None:
    world = _World(_ACME)
    with pytest.raises(RuntimeError), world.quotas.charge_returned(_ACME, MIB):
        raise RuntimeError
    assert world.quotas.backlog("acme") == 0


def test_exactly_the_tenants_with_too_much_set_aside_are_refused() -> None:
    world = _World(_ACME, _BETA)
    world.quotas.set_aside_full(frozenset({"acme"}))
    with refused(SET_ASIDE_FULL):
        world.quotas.check(_ACME)
    _send(world, _BETA)
    world.quotas.set_aside_full(frozenset())
    _send(world, _ACME)


def test_tenants_that_are_gone_or_unknown_take_no_room() -> None:
    world = _World(_ACME)
    world.quotas.hear_accepted("stranger", Volume(1, 1), unsure=False)
    world.quotas.hear_enqueued("stranger", 1)
    world.quotas.hear_settled("stranger", 1)
    _send(world, _ACME)
    assert world.quotas.tick(set()).keys() == {"acme"}
    world.tenants["acme"] = config(state="gone")
    assert world.quotas.tick(set()) == {}
    assert list(world.quotas.changed(0)) == []


def test_what_has_changed_since_a_moment_is_found() -> None:
    world = _World(_ACME, _BETA)
    _send(world, _ACME)
    before, world.now = world.now, world.now + 8
    _send(world, _BETA)
    assert {name for name, _ in world.quotas.changed(0)} == {"acme", "beta"}
    assert {name for name, _ in world.quotas.changed(before)} == {"beta"}


def test_it_is_said_when_a_tenant_comes_into_debt() -> None:
    world = _World(_ACME)
    said: list[float] = []
    world.quotas.on_debt = lambda: said.append(world.now)
    _send(world, _ACME, records=200)
    assert said == []
    _send(world, _ACME)
    assert said == [world.now]
