"""The kinds of objects that the operator deals with, and where the API server has them.

Invariant: what is not listed here the operator never touches; the chart's role is compared with this.
"""

from typing import Any, NamedTuple


class Kind(NamedTuple):
    """One kind of object."""

    api: str
    """Group and version, as in `apiVersion`."""
    kind: str
    plural: str
    namespaced: bool = True

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Path of the collection, an object, or a part of it."""
        root = f"/api/{self.api}" if "/" not in self.api else f"/apis/{self.api}"
        parts = [root, *(["namespaces", namespace] if self.namespaced and namespace else []), self.plural]
        return "/".join([*parts, *filter(None, (name, subresource))])

    @property
    def head(self) -> dict[str, Any]:
        """How a manifest of it begins."""
        return {"apiVersion": self.api, "kind": self.kind}


TENANT = Kind("sluice.dev/v1alpha1", "Tenant", "tenants")
NAMESPACE = Kind("v1", "Namespace", "namespaces", namespaced=False)
SECRET = Kind("v1", "Secret", "secrets")
CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps")
EVENT = Kind("v1", "Event", "events")
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
SCALED_OBJECT = Kind("keda.sh/v1alpha1", "ScaledObject", "scaledobjects")
