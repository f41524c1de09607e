"""Taking a Tenant away when its object goes, and when it went without us.

Deletion itself is `sluice_core.edge`'s; here are a cluster's own parts of it: the lane's objects, the Secret, and what
is said of it. Invariants: nothing is touched that is not this Tenant's; telling is best effort, since a namespace that
is being deleted takes no Events and no ConfigMaps, and the registry keeps the receipt anyway.
"""

import logging
from collections.abc import Collection
from typing import Literal

from sluice_core.edge.broker import Broker
from sluice_core.edge.deletion import Deletion
from sluice_core.edge.heartbeats import Roster
from sluice_core.edge.provision import Provisioner
from sluice_core.edge.registry import Claim, Owner, same_owner
from sluice_core.edge.store import store_errors
from sluice_core.errors import SluiceError
from sluice_core.names import STANDARD_LANE, tenant_database
from sluice_operator.events import Events
from sluice_operator.kube.client import Kube, Object
from sluice_operator.kube.errors import KubeError
from sluice_operator.kube.kinds import CONFIG_MAP, TENANT
from sluice_operator.lanes import LaneObjects
from sluice_operator.manifests import MANAGED_BY, MANAGER, erasure_receipt
from sluice_operator.secret_store import KubeSecret

log = logging.getLogger(__name__)


class Removal:
    """Removes Tenants."""

    def __init__(
        self,
        broker: Broker,
        provisioner: Provisioner,
        kube: Kube,
        lanes: LaneObjects,
        roster: Roster,
        events: Events,
        *,
        timeout: float,
    ) -> None:
        """`timeout`: the longest wait for a lane to finish, in seconds."""
        self._broker = broker
        self._provisioner = provisioner
        self._registry = provisioner.registry
        self._kube = kube
        self._lanes = lanes
        self._roster = roster
        self._events = events
        self._timeout = timeout

    async def remove(self, document: Object, namespace_uid: str) -> Claim | None:
        """Remove all of a Tenant object that is going; None when there is nothing of its.

        May be called again at any point, also after it was complete. Raises SluiceError when it has to be.
        """
        meta, spec = document["metadata"], document.get("spec") or {}
        tenant_id = spec.get("tenantId") or meta["name"]
        owner = Owner(meta["namespace"], meta["name"], meta["uid"], namespace_uid)
        with store_errors():
            claim = await self._registry.get(tenant_id)
        if claim is None or not same_owner(claim.owner, owner):
            return None
        if claim.state in {"Active", "Deleting"}:
            policy: Literal["Retain", "Delete"] = "Delete" if spec.get("deletionPolicy") == "Delete" else "Retain"
            deletion = self._deletion(document)
            claim = await deletion.delete(tenant_id, owner=owner, policy=policy, timeout=self._timeout)
        await self._tell(claim, meta, receipt=bool(spec.get("erasureReceipt")))
        return claim

    async def sweep(self, namespaces: Collection[str]) -> int:
        """Retire the claims of Tenants that are gone, and lane objects that are nobody's; returns how many.

        For objects that were removed without us, by a forced finalizer. It never drops a database: nobody is there any
        more to say that it should. `namespaces`: those that are watched; none: all.
        """
        lanes = await self._lanes.lanes()
        tenants = [one for name in namespaces or [""] for one in await self._kube.list(TENANT, name)]
        living = {one["metadata"]["uid"] for one in tenants}
        with store_errors():
            claims = await self._registry.all()
        retired = 0
        for claim in claims:
            ours = claim.owner.uid and (not namespaces or claim.owner.namespace in namespaces)
            if ours and claim.state in {"Active", "Deleting"} and claim.owner.uid not in living:
                retired += await self._retire(claim)
        with store_errors():
            needed = {
                lane
                for claim in await self._registry.all()
                if claim.state in {"Active", "Deleting"}
                for lane in claim.lanes
            }
        for lane in sorted(lanes - needed - {STANDARD_LANE}):
            log.warning("a lane's objects are nobody's and are removed", extra={"lane": lane})
            await self._lanes.remove(lane)
            retired += 1
        return retired

    async def _retire(self, claim: Claim) -> bool:
        owner = claim.owner
        current = await self._kube.get(TENANT, owner.namespace, owner.name)
        if current is not None and (current["metadata"]["uid"] == owner.uid or claim.state == "Active"):
            return False  # it came after the list was made, or is the same Tenant made anew, which adopts the claim
        meta = {"namespace": owner.namespace, "name": owner.name, "uid": owner.uid}
        log.warning("the Tenant of a claim is gone, and the claim is retired", extra={"tenant": claim.id})
        try:
            deletion = self._deletion({"metadata": meta})
            await deletion.delete(claim.id, owner=owner, policy="Retain", timeout=self._timeout)
        except SluiceError as error:
            log.warning("a claim could not be retired yet", extra={"tenant": claim.id, "error": str(error)})
            return False
        return True

    def _deletion(self, document: Object) -> Deletion:
        secrets = KubeSecret(self._kube, document, "")
        return Deletion(
            self._broker, self._provisioner, secrets, roster=self._roster, remove_workers=self._lanes.remove
        )

    async def _tell(self, claim: Claim, meta: Object, *, receipt: bool) -> None:
        database = tenant_database(claim.id)
        if claim.state != "Erased":
            message = f"Database {database} is kept. This Tenant, applied again in the same namespace, gets it back."
            await self._events.say(meta, "Retained", message)
            return
        before = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in claim.erased.items())
        message = f"Database {database} and all letters are gone. Before: {before}. After: none."
        await self._events.say(meta, "Erased", message)
        if receipt:
            await self._leave_receipt(claim, meta)

    async def _leave_receipt(self, claim: Claim, meta: Object) -> None:
        entries = {
            "tenantId": claim.id,
            "erasedAt": claim.ended_at.isoformat() if claim.ended_at else "",
            **{f"{name}Before": str(count) for name, count in claim.erased.items()},
            **{f"{name}After": "0" for name in claim.erased},
        }
        manifest = erasure_receipt(meta["namespace"], meta["name"], claim.id, entries)
        try:
            current = await self._kube.get(CONFIG_MAP, meta["namespace"], manifest["metadata"]["name"])
            labels = (current["metadata"].get("labels") or {}) if current is not None else {MANAGED_BY: MANAGER}
            if labels.get(MANAGED_BY) != MANAGER:
                log.warning("a ConfigMap stands where the receipt should", extra={"tenant": claim.id})
            elif current is None or current.get("data") != entries:
                await self._kube.apply(CONFIG_MAP, manifest)
        except KubeError as error:  # a namespace that is going takes none
            log.warning("the receipt could not be left", extra={"tenant": claim.id, "error": str(error)})
