"""Whose request it is: unknown is said only after a complete re-read found nothing."""

import asyncio
from typing import cast

import pytest

from sluice_core.edge.broker import Broker
from sluice_core.edge.tenants_view import MIN_REREAD_SECONDS, TenantsView
from sluice_core.errors import Refusal
from sluice_core.reasons import (
    DROPPING,
    INVALID_FIELD,
    KEY_INVALID,
    MISSING_FIELD,
    NOT_READY,
    PROVISIONING_FAILED,
    SUSPENDED,
    TENANT_GONE,
    Reason,
)
from sluice_core.tenant import KeyConfig, TenantConfig
from sluice_ingest.tenants import find_key_holder, find_named_tenant, may_send
from unit.fakes import FakeBucket, FakeView, config, refused
from unit.virtual import now, run

_KEYS = (KeyConfig("default", "d1"),)


def _hold(view: FakeView, digest: str = "d1") -> TenantConfig:
    return run(find_key_holder(view, digest))


def test_a_known_key_costs_no_re_read() -> None:
    view = FakeView(config(keys=_KEYS))
    assert _hold(view) == config(keys=_KEYS)
    assert view.confirms == 0


def test_an_unknown_key_costs_one_re_read_and_is_refused() -> None:
    view = FakeView(config(keys=_KEYS))
    with refused(KEY_INVALID):
        _hold(view, "d2")
    assert view.confirms == 1


def test_a_key_that_the_re_read_brings_is_known() -> None:
    view = FakeView()
    view.on_confirm = lambda: view.set(config(keys=_KEYS))
    assert _hold(view).tenant_id == "acme"


def test_before_the_tenants_are_known_nobody_is_refused_as_unknown() -> None:
    view = FakeView(complete=False)
    view.readable = False
    with refused(NOT_READY):
        _hold(view)


def test_a_key_is_not_called_invalid_when_the_re_read_failed() -> None:
    view = FakeView(config("other"), complete=True)
    view.readable = False
    with refused(NOT_READY):
        _hold(view)


def test_the_first_complete_re_read_decides() -> None:
    view = FakeView(complete=False)
    with refused(KEY_INVALID):
        _hold(view)


@pytest.mark.parametrize(
    ("tenant", "reason"),
    [
        (config(keys=_KEYS, state="gone"), TENANT_GONE),
        (config(keys=_KEYS, state="gone", suspension="Reject"), TENANT_GONE),
        (config(keys=_KEYS, suspension="Reject"), SUSPENDED),
        (config(keys=_KEYS, suspension="Drop"), DROPPING),
    ],
)
def test_a_tenant_that_may_not_send_is_told_why(tenant: TenantConfig, reason: Reason) -> None:
    with refused(reason):
        may_send(tenant)
    with refused(reason):
        _hold(FakeView(tenant))


def test_any_number_of_unknown_keys_cost_a_bounded_number_of_re_reads() -> None:
    async def main() -> None:
        bucket = FakeBucket(config(keys=_KEYS))
        view = TenantsView(cast("Broker", bucket))
        following = asyncio.create_task(view.run())

        async def guess(number: int) -> None:
            await asyncio.sleep(number / 1000)
            with refused(KEY_INVALID):
                await find_key_holder(view, f"guess {number}")

        await asyncio.gather(*(guess(number) for number in range(5000)))
        seconds = now()
        following.cancel()
        assert bucket.reads <= seconds / MIN_REREAD_SECONDS + 2
        assert seconds < 6, "nobody waits for the others' re-reads"

    run(main())


@pytest.mark.parametrize("suspension", ["Active", "Buffer"])
def test_a_tenant_that_is_buffered_may_send(suspension: str) -> None:
    assert may_send(config(suspension=suspension)).suspension == suspension


def test_a_stale_view_is_confirmed_before_a_known_key_is_believed() -> None:
    view = FakeView(config(keys=_KEYS))
    view.stale = True
    assert _hold(view) == config(keys=_KEYS)
    assert view.confirms == 1
    assert _hold(view) == config(keys=_KEYS)
    assert view.confirms == 1


def test_a_key_that_was_revoked_while_the_view_was_stale_is_refused() -> None:
    view = FakeView(config(keys=_KEYS))
    view.stale = True
    view.on_confirm = lambda: view.set(config(keys=()))
    with refused(KEY_INVALID):
        _hold(view)


def test_a_stale_view_that_cannot_be_read_decides_nothing() -> None:
    view = FakeView(config(keys=_KEYS))
    view.stale = True
    view.readable = False
    with refused(NOT_READY):
        _hold(view)


class _Provision:
    """The embedded stack; what it makes appears in the view at the next re-read."""

    def __init__(self, view: FakeView, *, works: bool = True, appears: bool = True) -> None:
        self.asked: list[str] = []
        self._view = view
        self._works = works
        self._appears = appears

    async def __call__(self, tenant_id: str) -> None:
        self.asked.append(tenant_id)
        if not self._works:
            raise Refusal(PROVISIONING_FAILED)
        if self._appears:
            self._view.on_confirm = lambda: self._view.set(config(tenant_id))


def _name(view: FakeView, *named: str | None, provision: _Provision | None = None) -> TenantConfig:
    return run(find_named_tenant(view, named, provision or _Provision(view)))


def test_the_first_tenant_named_is_meant() -> None:
    view = FakeView(config(), config("beta"))
    assert _name(view, None, "beta", "acme").tenant_id == "beta"
    assert view.confirms == 0


@pytest.mark.parametrize("named", [(), (None,), (None, None)])
def test_somebody_must_be_named(named: tuple[None, ...]) -> None:
    with refused(MISSING_FIELD):
        _name(FakeView(), *named)


@pytest.mark.parametrize("named", ["", "A", "a.b", "*", "a\n", "a" * 41])
def test_what_is_no_tenant_id_is_refused_before_anything_is_made(named: str) -> None:
    view = FakeView()
    provision = _Provision(view)
    with refused(INVALID_FIELD):
        _name(view, named, provision=provision)
    assert provision.asked == []


def test_a_tenant_comes_into_being_on_first_use() -> None:
    view = FakeView()
    provision = _Provision(view)
    assert _name(view, "acme", provision=provision).tenant_id == "acme"
    assert _name(view, "acme", provision=provision).tenant_id == "acme"
    assert provision.asked == ["acme"]


def test_before_the_tenants_are_known_none_is_made() -> None:
    view = FakeView(complete=False)
    provision = _Provision(view)
    with refused(NOT_READY):
        _name(view, "acme", provision=provision)
    assert provision.asked == []


@pytest.mark.parametrize(("works", "appears"), [(False, True), (True, False)])
def test_a_tenant_that_does_not_appear_is_refused_for_now(works: bool, appears: bool) -> None:
    view = FakeView()
    with refused(PROVISIONING_FAILED):
        _name(view, "acme", provision=_Provision(view, works=works, appears=appears))


def test_a_tenant_that_is_gone_is_not_made_again() -> None:
    view = FakeView(config(state="gone"))
    provision = _Provision(view)
    with refused(TENANT_GONE):
        _name(view, "acme", provision=provision)
    assert provision.asked == []
