"""Tenants whose database refuses, and when it is asked again: pure.

Closed, a tenant's batches are written. The first refusal opens its circuit: batches are parked without asking until a
back-off is over, then one is the trial; its success closes the circuit, its refusal doubles the back-off. Invariant:
of an open circuit at most one batch asks at a time, so a database that hangs costs one call a back-off.
"""

FIRST_BACK_OFF_SECONDS = 1.0
LONGEST_BACK_OFF_SECONDS = 30.0
TRIAL_SECONDS = 60.0
"""A trial of which nothing was heard for so long was given up (its worker is stopping, or had a bug)."""


class Circuit:
    """An open circuit."""

    __slots__ = ("back_off", "detail", "next_trial", "trial_until")

    def __init__(self, now: float, detail: str) -> None:
        self.detail = detail
        self.back_off = FIRST_BACK_OFF_SECONDS
        self.next_trial = now + self.back_off
        self.trial_until = float("-inf")

    def may_ask(self, now: float) -> bool:
        """Whether a trial is due."""
        return now >= self.next_trial and now >= self.trial_until

    def refused(self, now: float, detail: str) -> None:
        """Only a trial's refusal lengthens the back-off: batches that had begun before say nothing new."""
        self.detail = detail
        if self.trial_until > now:
            self.back_off = min(2 * self.back_off, LONGEST_BACK_OFF_SECONDS)
            self.next_trial = now + self.back_off
            self.trial_until = float("-inf")


class Circuits:
    """The circuits of all tenants; those that are closed take no room. Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._open: dict[str, Circuit] = {}

    def __len__(self) -> int:
        return len(self._open)

    @property
    def open(self) -> list[str]:
        """The tenants whose circuit is open, also while a trial is due: until one has succeeded nothing is known."""
        return sorted(self._open)

    def may_ask(self, tenant_id: str, now: float) -> bool:
        """Whether a batch of this tenant may be written, now or as a trial."""
        circuit = self._open.get(tenant_id)
        return circuit is None or circuit.may_ask(now)

    def ask(self, tenant_id: str, now: float) -> bool:
        """As `may_ask`, and the caller will: of an open circuit this is the trial, until it succeeds or is refused."""
        circuit = self._open.get(tenant_id)
        if circuit is None:
            return True
        if not circuit.may_ask(now):
            return False
        circuit.trial_until = now + TRIAL_SECONDS
        return True

    def succeeded(self, tenant_id: str) -> bool:
        """A batch was written; returns whether that closed the circuit."""
        return self._open.pop(tenant_id, None) is not None

    def detail(self, tenant_id: str) -> str:
        """What the last refusal said; empty for a closed circuit."""
        circuit = self._open.get(tenant_id)
        return "" if circuit is None else circuit.detail

    def refused(self, tenant_id: str, now: float, detail: str) -> bool:
        """A batch was refused; returns whether that opened the circuit."""
        circuit = self._open.get(tenant_id)
        if circuit is None:
            self._open[tenant_id] = Circuit(now, detail)
            return True
        circuit.refused(now, detail)
        return False
