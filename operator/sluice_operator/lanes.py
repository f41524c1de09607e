"""The objects of a lane in the cluster: its workers' Deployment, and the ScaledObject by which KEDA scales them.

Invariants: an object that is as wanted is not written; the number of replicas never is; and one that another Tenant's
lane is labelled with is never touched.
"""

from typing import NamedTuple

from sluice_core.errors import ProvisionError
from sluice_core.reasons import TEMPLATE_MISSING
from sluice_core.tenant import Scaling
from sluice_operator.kube.client import Kube, Object
from sluice_operator.kube.compare import holds
from sluice_operator.kube.kinds import CONFIG_MAP, DEPLOYMENT, SCALED_OBJECT, Kind
from sluice_operator.manifests import (
    LANE_LABEL,
    OURS,
    TEMPLATE_HASH,
    LaneOwner,
    Place,
    Template,
    TemplateError,
    lane_object_name,
    read_template,
    scaled_object,
    worker_deployment,
)


class TemplateMissing(ProvisionError):
    """The workers' pod template is not there or cannot be used."""

    reason = TEMPLATE_MISSING


class LaneLook(NamedTuple):
    """What was done for a lane, and how it is."""

    changed: tuple[str, ...]
    """What was not as wanted: `deployment`, `scaledobject`; or `template`, which is ours to change."""
    scaler_fault: str
    """What KEDA says is wrong; empty: nothing, or there is no KEDA."""


class LaneObjects:
    """Makes and removes them."""

    def __init__(self, kube: Kube, place: Place, template_name: str) -> None:
        self._kube = kube
        self._place = place
        self._template_name = template_name

    async def ensure(self, lane: str, owner: LaneOwner, scaling: Scaling) -> LaneLook:
        """Bring both to what is wanted; the lane's consumer is there before. Raises KubeError, TemplateMissing."""
        template = await self._template()
        deployment = worker_deployment(lane, owner, template, self._place)
        scaler = scaled_object(lane, owner, scaling, template, self._place)
        changed: list[str] = []
        await self._ensure(DEPLOYMENT, deployment, changed)
        current = await self._ensure(SCALED_OBJECT, scaler, changed)
        return LaneLook(tuple(changed), _fault(current))

    async def remove(self, lane: str) -> None:
        """Remove both, the scaler first, or it would start what is being stopped."""
        name, namespace = lane_object_name(lane), self._place.namespace
        for kind in (SCALED_OBJECT, DEPLOYMENT):
            current = await self._kube.get(kind, namespace, name)
            if current is not None:
                await self._kube.delete(kind, namespace, name, uid=current["metadata"]["uid"])

    async def lanes(self) -> set[str]:
        """The lanes that have an object."""
        found = [
            one
            for kind in (DEPLOYMENT, SCALED_OBJECT)
            for one in await self._kube.list(kind, self._place.namespace, f"{OURS},{LANE_LABEL}")
        ]
        return {one["metadata"]["labels"][LANE_LABEL] for one in found}

    async def _template(self) -> Template:
        found = await self._kube.get(CONFIG_MAP, self._place.namespace, self._template_name)
        if found is None:
            raise TemplateMissing(f"there is no ConfigMap {self._template_name} with the workers' pod template")
        try:
            return read_template(found)
        except TemplateError as error:
            raise TemplateMissing(str(error)) from None

    async def _ensure(self, kind: Kind, wanted: Object, changed: list[str]) -> Object:
        """The object as it is now."""
        meta = wanted["metadata"]
        current = await self._kube.get(kind, meta["namespace"], meta["name"])
        same_template = current is None or _same_template(current, wanted)
        if current is not None and same_template and holds(current, wanted):
            return current
        changed.append(kind.kind.lower() if same_template else "template")
        return await self._kube.apply(kind, wanted)


def _same_template(current: Object, wanted: Object) -> bool:
    """Comparing fields does not show what the template no longer has."""
    annotations = current["metadata"].get("annotations") or {}
    return bool(annotations.get(TEMPLATE_HASH) == wanted["metadata"]["annotations"][TEMPLATE_HASH])


def _fault(scaler: Object) -> str:
    for condition in (scaler.get("status") or {}).get("conditions") or []:
        if condition.get("type") == "Ready" and condition.get("status") == "False":
            return f"KEDA says {condition.get('reason') or 'NotReady'}"
    return ""
