"""`python -m sluice_operator release ID`: an administrator lets a retained tenant id go to whoever claims it next.

It is the operator's, since its pod has the rights already: `kubectl exec deploy/sluice-operator -- python -m
sluice_operator release ID`. Invariant: it changes who may claim the id and nothing else, least of all what is stored.
"""

from sluice_core.edge.registry import Registry
from sluice_core.edge.store import connect, store_errors
from sluice_operator.settings import OperatorSettings


async def release(settings: OperatorSettings, tenant_id: str) -> None:
    """Raises ProvisionError when nothing is retained under that id, StoreUnavailable when the database is away."""
    client = connect(settings.mongodb_uri, timeout_ms=int(settings.store_timeout * 1000))
    try:
        with store_errors():
            await Registry(client).release(tenant_id)
    finally:
        client.close()
