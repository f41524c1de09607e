"""Telling a Tenant's owner what happened, in Events.

Invariant: best effort. An Event that cannot be written stops nothing, and none carries a secret or log text.
"""

import logging
from datetime import UTC, datetime
from typing import Literal

from sluice_operator.kube.client import Kube, Object
from sluice_operator.kube.errors import KubeError
from sluice_operator.kube.kinds import EVENT
from sluice_operator.manifests import event

log = logging.getLogger(__name__)


class Events:
    """Writes them."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube

    async def say(self, meta: Object, reason: str, message: str, kind: Literal["Normal", "Warning"] = "Normal") -> None:
        """One Event about the Tenant with this metadata."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        try:
            await self._kube.create(EVENT, event(meta, kind=kind, reason=reason, message=message, now=now))
        except KubeError as error:
            log.info("an event could not be written", extra={"reason": reason, "error": str(error)})
