"""When to look: the only kopf decorators.

One function for create, update and resume, one timer beside them, one for the deletion. kopf is told that each look
succeeded, since what is left is ours to try again: that costs no annotation on the object. Only the deletion reports
what it waits for, which holds the finalizer. Invariant: nothing here decides anything.
"""

import random
from typing import Any

import kopf

from sluice_operator.book import Ref
from sluice_operator.kube.kinds import TENANT
from sluice_operator.pulse import Pulse
from sluice_operator.service import Service

_GROUP, _, _VERSION = TENANT.api.partition("/")
_RESOURCE = (_GROUP, _VERSION, TENANT.plural)
_DELETE_RETRY_SECONDS = (1.0, 2.0, 4.0, 8.0, 15.0)


def register(registry: kopf.OperatorRegistry, service: Service, pulse: Pulse, drift_seconds: float) -> None:
    """Let kopf call the service. Ids are part of what is stored on objects: they never change."""

    @kopf.on.create(*_RESOURCE, id="look", registry=registry)
    @kopf.on.update(*_RESOURCE, id="look", registry=registry)
    @kopf.on.resume(*_RESOURCE, id="look", registry=registry)
    async def look(namespace: str | None, name: str | None, uid: str | None, **_: Any) -> None:
        await service.look(Ref(namespace or "", name or "", uid or ""))

    # Spread over the interval, or all tenants would have their turn at once for ever after a restart.
    @kopf.timer(
        *_RESOURCE,
        id="drift",
        registry=registry,
        interval=drift_seconds,
        initial_delay=lambda **_: random.uniform(0.2, 1.0) * drift_seconds,  # noqa: S311
    )
    async def drift(namespace: str | None, name: str | None, uid: str | None, **_: Any) -> None:
        pulse.beat()
        await service.look(Ref(namespace or "", name or "", uid or ""))

    @kopf.on.delete(*_RESOURCE, id="delete", registry=registry)
    async def delete(
        namespace: str | None, name: str | None, uid: str | None, body: kopf.Body, retry: int, **_: Any
    ) -> None:
        why = await service.delete(Ref(namespace or "", name or "", uid or ""), dict(body))
        if why:
            delay = _DELETE_RETRY_SECONDS[min(retry, len(_DELETE_RETRY_SECONDS) - 1)]
            raise kopf.TemporaryError(why, delay=delay * random.uniform(0.8, 1.2))  # noqa: S311
