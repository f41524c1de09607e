"""What each tenant may send, over all replicas of ingest together.

Every replica keeps the whole of a tenant's rates and its whole backlog, charges what it takes at once, and what the
others take as soon as their heartbeats say so. So in the long run the sum over all replicas is the limit, however the
load is spread, and what is taken too much is bounded by what fits between two heartbeats. Invariants: one tenant's
numbers never touch another's; what did not become durable is charged to nobody.
"""

import time
from collections.abc import Callable, Collection, Iterator

from sluice_core.errors import Refusal
from sluice_core.heartbeat import Volume
from sluice_core.reasons import SET_ASIDE_FULL
from sluice_core.tenant import TenantConfig
from sluice_ingest.backlog import Backlog
from sluice_ingest.metrics import LIMITED_REQUESTS
from sluice_ingest.rate import Rate

_SET_ASIDE_SECONDS = 10.0
"""Somebody has to do something first."""


class Account:
    """One tenant's numbers, and the sums that this replica tells the others."""

    __slots__ = ("accepted", "backlog", "changed_at", "enqueued", "rate")

    def __init__(self, tenant: TenantConfig, now: float) -> None:
        self.rate = Rate(tenant.limits, now)
        self.backlog = Backlog()
        self.accepted = Volume(0, 0)
        self.enqueued = 0
        self.changed_at = float("-inf")


class Quotas:
    """All tenants' accounts. `find` is how a tenant is looked up, `clock` any monotonic one, in seconds."""

    def __init__(self, find: Callable[[str], TenantConfig | None], clock: Callable[[], float] = time.monotonic) -> None:
        self._find = find
        self.clock = clock
        self.on_debt: Callable[[], None] = lambda: None
        """Called when a tenant was brought into debt here: the sooner others know, the less they take."""
        self._accounts: dict[str, Account] = {}
        self._set_aside_full: Collection[str] = frozenset()

    def check(self, tenant: TenantConfig) -> None:
        """Whether the tenant may send anything now; cheap, for before the body is read.

        Raises Refusal with RATE_LIMITED, BACKLOG_FULL or SET_ASIDE_FULL.
        """
        account = self._accounts.get(tenant.tenant_id) or self._open(tenant)
        self._check(account, tenant, self.clock())

    def charge(self, tenant: TenantConfig, volume: Volume) -> "Charge":
        """A context in which the volume is made durable; an exception takes the charge back. Raises as `check`."""
        account = self._accounts.get(tenant.tenant_id) or self._open(tenant)
        self._check(account, tenant, self.clock())
        # What is buffered does not enter the lane now, so it is no backlog of it.
        return Charge(self, account, volume, 0 if tenant.suspension == "Buffer" else volume.size)

    def charge_returned(self, tenant: TenantConfig, size: int) -> "Charge":
        """As `charge`, for bytes that were set aside: they paid for their rate when they first came."""
        account = self._accounts.get(tenant.tenant_id) or self._open(tenant)
        return Charge(self, account, Volume(0, 0), size)

    def backlog(self, tenant_id: str) -> int:
        """Bytes of the tenant that are in its lane, as far as this replica knows."""
        account = self._accounts.get(tenant_id)
        return 0 if account is None else account.backlog.size

    # -- what others say -------------------------------------------------------------------------------------------

    def hear_accepted(self, tenant_id: str, volume: Volume, *, unsure: bool) -> None:
        """Another replica took this; `unsure` if some of it may be from long ago."""
        account = self._known(tenant_id)
        if account is not None:
            (account.rate.take_unsure if unsure else account.rate.take)(volume, self.clock())

    def hear_enqueued(self, tenant_id: str, size: int) -> None:
        """Another replica put these bytes into the tenant's lane."""
        account = self._known(tenant_id)
        if account is not None:
            account.backlog.add(size)

    def hear_settled(self, tenant_id: str, size: int) -> None:
        """A worker settled these bytes."""
        account = self._known(tenant_id)
        if account is not None:
            account.backlog.settle(size)

    def set_aside_full(self, tenants: Collection[str]) -> None:
        """These, and no others, have as much set aside as they may."""
        self._set_aside_full = tenants

    # -- what we say -----------------------------------------------------------------------------------------------

    def changed(self, since: float) -> Iterator[tuple[str, Account]]:
        """Accounts whose sums have changed since a moment, by tenant."""
        return ((name, account) for name, account in self._accounts.items() if account.changed_at > since)

    def tick(self, idle_lanes: Collection[str]) -> dict[str, int]:
        """Correct the backlogs, close the accounts of tenants that are gone; returns the backlogs by tenant."""
        backlogs: dict[str, int] = {}
        for tenant_id, account in list(self._accounts.items()):
            tenant = self._find(tenant_id)
            if tenant is None or tenant.state == "gone":
                del self._accounts[tenant_id]
                continue
            account.backlog.tick(idle=tenant.lane in idle_lanes)
            backlogs[tenant_id] = account.backlog.size
        return backlogs

    def _check(self, account: Account, tenant: TenantConfig, now: float) -> None:
        try:
            account.rate.check(tenant.limits, now)
            if tenant.suspension != "Buffer":
                account.backlog.check(tenant.limits.max_backlog_bytes)
            if tenant.tenant_id in self._set_aside_full:
                raise Refusal(SET_ASIDE_FULL, retry_after=_SET_ASIDE_SECONDS)
        except Refusal as refusal:
            LIMITED_REQUESTS.labels(tenant.tenant_id, refusal.reason.code).inc()
            raise

    def _known(self, tenant_id: str) -> Account | None:
        account = self._accounts.get(tenant_id)
        if account is None and (tenant := self._find(tenant_id)) is not None and tenant.state != "gone":
            account = self._open(tenant)
        return account

    def _open(self, tenant: TenantConfig) -> Account:
        account = self._accounts[tenant.tenant_id] = Account(tenant, self.clock())
        return account


class Charge:
    """One request's volume while it is made durable: charged on entering, taken back if that fails."""

    __slots__ = ("_account", "_enqueued", "_quotas", "_volume")

    def __init__(self, quotas: Quotas, account: Account, volume: Volume, enqueued: int) -> None:
        self._quotas = quotas
        self._account = account
        self._volume = volume
        self._enqueued = enqueued

    def __enter__(self) -> None:
        """Before it is durable, so that others who come meanwhile are judged by it."""
        self._account.rate.take(self._volume, self._quotas.clock())
        self._account.backlog.add(self._enqueued)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Others hear only of what became durable."""
        account, volume = self._account, self._volume
        if kind is not None:
            account.rate.give_back(volume)
            account.backlog.give_back(self._enqueued)
            return
        accepted = account.accepted
        account.accepted = Volume(accepted.records + volume.records, accepted.size + volume.size)
        account.enqueued += self._enqueued
        account.changed_at = now = self._quotas.clock()
        if account.rate.owes(now):
            self._quotas.on_debt()
