"""One tenant's two rates: records and bytes a second, each a bucket that may go into debt.

A request is taken while the tenant owes nothing and is then charged in full, so a batch larger than the burst can be
sent, and is paid for afterwards. A bucket is kept as the moment up to which everything is paid: what has not been used
for longer than the burst is lost. Invariant: over any time, what is taken is at most burst plus rate times time, plus
the one request that went into debt.
"""

from sluice_core.errors import Refusal
from sluice_core.heartbeat import LIVE_SECONDS, Volume
from sluice_core.limits import Limits
from sluice_core.reasons import RATE_LIMITED


class Rate:
    """Two buckets under `limits`, full at first. `now` is everywhere in seconds of one monotonic clock."""

    __slots__ = ("_bytes_paid", "_limits", "_records_paid")

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._records_paid = self._bytes_paid = now - limits.burst_seconds

    def check(self, limits: Limits, now: float) -> None:
        """Raises Refusal with RATE_LIMITED while the tenant is in debt; `retry_after` says until when."""
        if limits is not self._limits:
            self._adapt(limits, now)
        if self.owes(now):
            raise self._refusal(now)

    def owes(self, now: float) -> bool:
        """Whether the tenant is in debt."""
        return self._records_paid > now or self._bytes_paid > now

    def take(self, volume: Volume, now: float) -> None:
        """Charge what was taken, whatever that leaves."""
        limits = self._limits
        oldest = now - limits.burst_seconds
        self._records_paid = max(self._records_paid, oldest) + volume.records / limits.records_per_second
        self._bytes_paid = max(self._bytes_paid, oldest) + volume.size / limits.bytes_per_second

    def take_unsure(self, volume: Volume, now: float) -> None:
        """Charge what another replica took, some of it perhaps long ago: nobody is locked out for that."""
        records_paid, bytes_paid = self._records_paid, self._bytes_paid
        self.take(volume, now)
        most = now + self._limits.burst_seconds + LIVE_SECONDS
        self._records_paid = min(self._records_paid, max(most, records_paid))
        self._bytes_paid = min(self._bytes_paid, max(most, bytes_paid))

    def give_back(self, volume: Volume) -> None:
        """Undo a charge: what it was for did not happen."""
        self._records_paid -= volume.records / self._limits.records_per_second
        self._bytes_paid -= volume.size / self._limits.bytes_per_second

    def _adapt(self, limits: Limits, now: float) -> None:
        """A debt is one of records and bytes: whoever gets a higher limit has paid it the sooner."""
        old, self._limits = self._limits, limits
        if self._records_paid > now:
            self._records_paid = now + (self._records_paid - now) * old.records_per_second / limits.records_per_second
        if self._bytes_paid > now:
            self._bytes_paid = now + (self._bytes_paid - now) * old.bytes_per_second / limits.bytes_per_second

    def _refusal(self, now: float) -> Refusal:
        limits = self._limits
        if self._records_paid >= self._bytes_paid:
            paid, limit = self._records_paid, f"{limits.records_per_second} records"
        else:
            paid, limit = self._bytes_paid, f"{limits.bytes_per_second} bytes"
        detail = f"The tenant may send {limit} a second, those of {limits.burst_seconds} s at once."
        return Refusal(RATE_LIMITED, detail, retry_after=paid - now)
