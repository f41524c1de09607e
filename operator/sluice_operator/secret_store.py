"""A tenant's secret as a Kubernetes Secret beside its Tenant.

Invariants: a Secret of that name that we did not make is never read, changed or deleted; and one that is ours says at
any time all that its owner needs, so what is out of date in it counts as changed.
"""

import msgspec

from sluice_core.edge.secrets import TenantSecret
from sluice_core.errors import SecretConflict
from sluice_operator.kube.client import Kube, Object
from sluice_operator.kube.compare import holds
from sluice_operator.kube.errors import Conflict
from sluice_operator.kube.kinds import SECRET
from sluice_operator.manifests import MANAGED_BY, MANAGER, TENANT_LABEL, read_secret, secret_name, tenant_secret


class KubeSecret:
    """The secret of one Tenant object, as provisioning sees it (`SecretStore`)."""

    def __init__(self, kube: Kube, tenant: Object, ingest_url: str) -> None:
        self._kube = kube
        self._tenant = tenant
        self._ingest_url = ingest_url
        self._found: Object | None = None

    async def read(self, tenant_id: str) -> TenantSecret | None:
        """What the Secret holds. Raises SecretConflict for one that is not ours."""
        self._found = await self._get()
        if self._found is None:
            return None
        if not _is_ours(self._found, tenant_id):
            raise SecretConflict(
                f"Secret {self._name} exists and is not this tenant's: remove it, or give the Tenant another name"
            )
        secret = read_secret(self._found)
        wanted = self._manifest(tenant_id, secret)
        if holds(self._found, wanted) and self._found.get("data", {}).keys() == wanted["data"].keys():
            return secret
        return msgspec.structs.replace(secret, mongodb_uri="")  # an address or a label is out of date: as if changed

    async def write(self, tenant_id: str, secret: TenantSecret) -> None:
        """Make the Secret, or put this one in the place of the one that was read. Raises SecretConflict."""
        manifest = self._manifest(tenant_id, secret)
        try:
            if self._found is None:
                await self._kube.create(SECRET, manifest)
            else:
                version = self._found["metadata"]["resourceVersion"]
                manifest["metadata"]["resourceVersion"] = version
                await self._kube.replace(SECRET, manifest)
        except Conflict:
            raise SecretConflict(f"Secret {self._name} was made or changed by somebody at this moment") from None

    async def delete(self, tenant_id: str) -> None:
        """Remove the Secret if it is ours."""
        found = await self._get()
        if found is not None and _is_ours(found, tenant_id):
            await self._kube.delete(SECRET, self._namespace, self._name, uid=found["metadata"]["uid"])

    @property
    def _namespace(self) -> str:
        return str(self._tenant["metadata"]["namespace"])

    @property
    def _name(self) -> str:
        return secret_name(self._tenant["metadata"]["name"])

    async def _get(self) -> Object | None:
        return await self._kube.get(SECRET, self._namespace, self._name)

    def _manifest(self, tenant_id: str, secret: TenantSecret) -> Object:
        return tenant_secret(self._tenant, tenant_id, secret, self._ingest_url)


def _is_ours(secret: Object, tenant_id: str) -> bool:
    labels = secret["metadata"].get("labels") or {}
    return labels.get(MANAGED_BY) == MANAGER and labels.get(TENANT_LABEL) == tenant_id
