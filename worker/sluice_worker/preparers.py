"""One preparer for each tenant, made anew when its config changes.

Invariant: a record is redacted under the newest config this worker knows, whenever it was accepted.
"""

from sluice_core.tenant import TenantConfig
from sluice_redact import Redactor, read_policy
from sluice_worker.documents import Preparer, derive_key

_CONTENT = b"sluice content hash"
_REDACTION = b"sluice redaction token"


class Preparers:
    """The preparers of this process; one thread uses them."""

    def __init__(self, master_secret: bytes) -> None:
        self._master_secret = master_secret
        self._preparers: dict[str, Preparer] = {}

    def get(self, config: TenantConfig) -> Preparer:
        """The preparer for this config. Raises sluice_redact.PolicyError when its policy cannot be compiled."""
        preparer = self._preparers.get(config.tenant_id)
        if preparer is None or preparer.config is not config:
            preparer = self._make(config)
            self._preparers[config.tenant_id] = preparer
        return preparer

    def _make(self, config: TenantConfig) -> Preparer:
        redactor = Redactor(read_policy(config.redaction), derive_key(self._master_secret, _REDACTION, config.uid))
        return Preparer(config, redactor, derive_key(self._master_secret, _CONTENT, config.uid))
