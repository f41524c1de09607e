"""Tenants of a real API server, as `kubectl` would make and read them."""

from typing import Any

from sluice_core.manifest import API_VERSION, KIND
from sluice_operator.kube.client import Kube, Object
from sluice_operator.kube.kinds import EVENT, TENANT
from support.waiting import eventually

SOON = 30.0
"""Seconds that any single thing may take; on an idle machine it takes a tenth."""


class Tenants:
    """Those of one namespace, and of others where they are named."""

    def __init__(self, kube: Kube, namespace: str) -> None:
        self.kube = kube
        self.namespace = namespace

    def manifest(self, name: str, *, namespace: str = "", **spec: Any) -> Object:
        meta = {"name": name, "namespace": namespace or self.namespace}
        return {"apiVersion": API_VERSION, "kind": KIND, "metadata": meta, "spec": spec}

    async def apply(self, name: str, *, namespace: str = "", **spec: Any) -> Object:
        """Make the Tenant, or change it to this, as `kubectl apply` does."""
        return await self.kube.call(
            "PATCH",
            TENANT.path(namespace or self.namespace, name),
            self.manifest(name, namespace=namespace, **spec),
            content_type="application/apply-patch+yaml",
            query={"fieldManager": "test", "force": "true"},
        )

    async def get(self, name: str, namespace: str = "") -> Object | None:
        return await self.kube.get(TENANT, namespace or self.namespace, name)

    async def condition(self, name: str, kind: str = "Ready", namespace: str = "") -> dict[str, Any]:
        """One condition that is about the newest generation; empty when there is none."""
        tenant = await self.get(name, namespace)
        if tenant is None:
            return {}
        for one in (tenant.get("status") or {}).get("conditions") or []:
            if one["type"] == kind and one["observedGeneration"] == tenant["metadata"]["generation"]:
                return dict(one)
        return {}

    async def becomes(
        self,
        name: str,
        status: str = "True",
        reason: str = "",
        *,
        kind: str = "Ready",
        namespace: str = "",
        within: float = SOON,
    ) -> dict[str, Any]:
        """Wait until a condition is so; returns it."""

        async def there() -> dict[str, Any]:
            found = await self.condition(name, kind, namespace)
            return found if found.get("status") == status and reason in ("", found["reason"]) else {}

        try:
            return await eventually(there, within=within, pause=0.05)
        except AssertionError:
            raise AssertionError(f"{name} is {await self.get(name, namespace)}") from None

    async def events(self, name: str, namespace: str = "") -> list[tuple[str, str]]:
        """Reason and message of each Event about a Tenant of this name."""
        found = await self.kube.list(EVENT, namespace or self.namespace)
        return [(one["reason"], one["message"]) for one in found if one["involvedObject"]["name"] == name]

    async def has_event(self, name: str, reason: str, namespace: str = "") -> str:
        """Wait for an Event; returns its message."""

        async def there() -> str:
            found = await self.events(name, namespace)
            return next((message for why, message in found if why == reason), "")

        return await eventually(there, within=SOON, pause=0.1)
