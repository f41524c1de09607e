"""Noticing at once that somebody changed or deleted a lane's object, or that the workers' template is another one.

A small watch of our own: kopf lists children at cluster scope, which a role for one namespace does not allow, and
stores annotations on them. Invariants: it only says which lane to look at; and it never ends: a watch that breaks is
followed by a new list, whose differences count as changes.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from sluice_operator.kube.client import Kube, Object
from sluice_operator.kube.errors import KubeError, KubeRefused
from sluice_operator.kube.kinds import CONFIG_MAP, DEPLOYMENT, SCALED_OBJECT, Kind
from sluice_operator.manifests import LANE_LABEL, OURS

log = logging.getLogger(__name__)

_PAUSES = (0.2, 1.0, 3.0, 10.0, 30.0)


class LaneWatch:
    """Calls `changed` with the lane, or with None when the template changed."""

    def __init__(self, kube: Kube, namespace: str, template_name: str, changed: Callable[[str | None], None]) -> None:
        self._kube = kube
        self._namespace = namespace
        self._template_name = template_name
        self._changed = changed

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            for kind in (DEPLOYMENT, SCALED_OBJECT):
                group.create_task(self._follow(kind, f"{OURS},{LANE_LABEL}"))
            group.create_task(self._follow(CONFIG_MAP, ""))

    async def _follow(self, kind: Kind, selector: str) -> None:
        seen: dict[str, Any] | None = None
        failures = 0
        while True:
            try:
                seen = await self._read(kind, selector, seen)
                failures = 0
            except KubeError as error:
                if failures == len(_PAUSES) - 1:  # once, not for ever; a cluster without KEDA has no ScaledObjects
                    log.warning("lane objects cannot be watched", extra={"kind": kind.kind, "error": str(error)})
                if isinstance(error, KubeRefused) and error.status == 410:
                    continue
                failures += 1
            except Exception:  # a bug, and no reason to stop watching
                log.exception("a watch of lane objects failed", extra={"kind": kind.kind})
                failures += 1
            await asyncio.sleep(_PAUSES[min(failures, len(_PAUSES) - 1)])

    async def _read(self, kind: Kind, selector: str, seen: dict[str, Any] | None) -> dict[str, Any]:
        """List, compare with what was seen before, and follow until the watch ends."""
        query = {"labelSelector": selector} if selector else {"fieldSelector": f"metadata.name={self._template_name}"}
        answer = await self._kube.call("GET", kind.path(self._namespace), query=query)
        now = {one["metadata"]["name"]: one for one in answer.get("items") or []}
        marks = {name: _mark(one) for name, one in now.items()}
        for name in (marks.keys() | seen.keys()) if seen is not None else ():
            if marks.get(name) != (seen or {}).get(name):
                self._tell(kind, now.get(name))
        version = answer["metadata"]["resourceVersion"]
        async for change, one in self._kube.watch(kind, self._namespace, query, version):
            if change == "BOOKMARK":
                continue
            name = one["metadata"]["name"]
            mark = None if change == "DELETED" else _mark(one)
            if marks.get(name) != mark:
                self._tell(kind, one)
            if mark is None:
                marks.pop(name, None)
            else:
                marks[name] = mark
        return marks

    def _tell(self, kind: Kind, one: Object | None) -> None:
        if kind is CONFIG_MAP or one is None:
            self._changed(None)
        else:
            self._changed((one["metadata"].get("labels") or {}).get(LANE_LABEL))


def _mark(one: Object) -> Any:
    """What of an object matters; a Deployment's status, which changes all the time, does not."""
    meta = one["metadata"]
    ready = [
        (condition.get("status"), condition.get("reason"))
        for condition in (one.get("status") or {}).get("conditions") or []
        if condition.get("type") == "Ready"
    ]
    return meta["uid"], meta.get("generation"), meta.get("labels"), meta.get("annotations"), one.get("data"), ready
