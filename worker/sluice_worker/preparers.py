"""One preparer for each tenant, made anew when its config changes; compiled policies are shared by tenants alike.

Invariant: a record is redacted under the newest config this worker knows, whenever it was accepted.
"""

from sluice_core.tenant import TenantConfig
from sluice_redact import Policy, Redactor
from sluice_worker.documents import Preparer

_MOST_POLICIES = 256


class Preparers:
    """The preparers of this process; one thread uses them."""

    def __init__(self, master_secret: bytes) -> None:
        self._master_secret = master_secret
        self._preparers: dict[str, Preparer] = {}
        self._redactors: dict[tuple[tuple[str, str], ...], Redactor] = {}

    def get(self, config: TenantConfig) -> Preparer:
        """The preparer for this config. Raises sluice_redact.PolicyError when its policy cannot be compiled."""
        preparer = self._preparers.get(config.tenant_id)
        if preparer is None or preparer.config is not config:
            preparer = Preparer(config, self._redactor(config), self._master_secret)
            self._preparers[config.tenant_id] = preparer
        return preparer

    def _redactor(self, config: TenantConfig) -> Redactor:
        key = tuple(sorted(config.detectors.items()))
        redactor = self._redactors.get(key)
        if redactor is None:
            if len(self._redactors) >= _MOST_POLICIES:
                self._redactors.clear()
            redactor = Redactor(Policy(config.detectors) if config.detectors else Policy())
            self._redactors[key] = redactor
        return redactor
