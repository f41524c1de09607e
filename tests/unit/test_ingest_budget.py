"""The budget of bytes: never exceeded, nobody locks the others out, and all of it comes back."""

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sluice_core.errors import Refusal
from sluice_core.reasons import OVERLOADED
from sluice_ingest.budget import REQUEST_BYTES, Budget, Lease
from unit.fakes import refused

_TOTAL, _SHARE = 40 * REQUEST_BYTES, 20 * REQUEST_BYTES


def _lease(budget: Budget, holder: str, size: int) -> Lease:
    lease = budget.lease()
    lease.holder = holder
    lease.resize(size)
    return lease


class _Requests(RuleBasedStateMachine):
    """Any number of requests of three tenants, that grow, shrink and end in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.budget = Budget(_TOTAL, _SHARE)
        self.open: list[tuple[Lease, int]] = []

    @rule(holder=st.sampled_from("abc"), size=st.integers(0, 2 * _SHARE))
    def begin(self, holder: str, size: int) -> None:
        lease = self.budget.lease()
        lease.holder = holder
        self._resize(lease, 0, size)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), size=st.integers(0, 2 * _SHARE))
    def change(self, data: st.DataObject, size: int) -> None:
        lease, before = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        self._resize(lease, before, size)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        lease, _ = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        with lease:
            pass

    def _resize(self, lease: Lease, before: int, size: int) -> None:
        size = max(size, REQUEST_BYTES)
        others = [held for other, held in self.open if other.holder == lease.holder]
        fits = sum(held for _, held in self.open) + size <= _TOTAL
        shares = not others or sum(others) + size <= _SHARE
        try:
            lease.resize(size)
        except Refusal:
            assert size > before
            assert not (fits and shares)
            size = before
        else:
            assert size <= before or (fits and shares)
        if size:
            self.open.append((lease, size))

    @invariant()
    def what_is_held_is_what_the_requests_hold(self) -> None:
        assert self.budget.held == sum(held for _, held in self.open) <= _TOTAL

    def teardown(self) -> None:
        for lease, _ in self.open:
            lease.release()
        assert self.budget.held == 0


TestRequests = _Requests.TestCase


def test_one_tenant_cannot_take_what_the_others_need() -> None:
    budget = Budget(_TOTAL, _SHARE)
    leases = [_lease(budget, "flooder", REQUEST_BYTES) for _ in range(_SHARE // REQUEST_BYTES)]
    with refused(OVERLOADED):
        _lease(budget, "flooder", REQUEST_BYTES)
    assert _lease(budget, "other", _SHARE)
    leases[0].release()
    assert _lease(budget, "flooder", REQUEST_BYTES)


def test_a_single_request_may_be_larger_than_the_share_and_may_grow_to_that() -> None:
    budget = Budget(_TOTAL, _SHARE)
    lease = _lease(budget, "a", REQUEST_BYTES)
    lease.resize(_TOTAL)
    with refused(OVERLOADED):
        lease.resize(_TOTAL + 1)
    assert budget.held == _TOTAL, "what was refused changed nothing"


def test_even_the_smallest_request_counts() -> None:
    budget = Budget(_TOTAL, _SHARE)
    with budget.lease() as lease:
        assert budget.held == 0
        lease.resize(0)
        assert budget.held == REQUEST_BYTES
    assert budget.held == 0


@given(st.integers(0, _SHARE))
def test_an_error_gives_everything_back(size: int) -> None:
    budget = Budget(_TOTAL, _SHARE)
    with refused(OVERLOADED), budget.lease() as lease:
        lease.resize(size)
        lease.resize(_TOTAL + 1)
    assert budget.held == 0
