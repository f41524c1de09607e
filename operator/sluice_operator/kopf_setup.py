"""How kopf is set up here, and how it and we log in to the cluster.

Invariants: what kopf stores on an object is its generation and nothing of its spec, under names of our own; changing
either later would handle every object anew, so they stay. Nothing that is logged becomes an Event.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import kopf

from sluice_operator.kube.client import Credentials
from sluice_operator.kube.errors import KubeUnavailable

PREFIX = "operator.sluice.dev"
FINALIZER = f"{PREFIX}/tenant"


class GenerationDiffBase(kopf.AnnotationsDiffBaseStorage):
    """Remembers which generation of an object was handled last.

    kopf would keep a copy of the whole spec, which is too much for an annotation and shows redaction tests in one more
    place. The generation says as well whether the spec is another one, and label edits cost nothing.
    """

    def build(self, *, body: kopf.Body, extra_fields: Any = None) -> kopf.BodyEssence:
        """What is compared and stored."""
        return {"metadata": {"generation": body["metadata"].get("generation", 0)}}  # type: ignore[typeddict-unknown-key]


def kopf_settings() -> kopf.OperatorSettings:
    """kopf's settings; times in seconds, reasons in facts about kopf 1.45 (docs/operator.md)."""
    settings = kopf.OperatorSettings()
    settings.persistence.finalizer = FINALIZER
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=PREFIX, v1=False)
    settings.persistence.diffbase_storage = GenerationDiffBase(prefix=PREFIX, v1=False)
    settings.posting.enabled = False  # Events are ours
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 310
    settings.watching.connect_timeout = 10
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    settings.execution.default_backoff = 15
    return settings


def quieten_kopf() -> None:
    """Leave out of our logs what kopf says of every look, and the objects and settings that it attaches."""
    logging.getLogger("kopf").setLevel(logging.WARNING)
    logging.getLogger("kopf.objects").addFilter(_without_objects)


def _without_objects(record: logging.LogRecord) -> bool:
    for name in ("settings", "k8s_ref", "k8s_skip"):
        vars(record).pop(name, None)
    return True


def make_registry(stop: Callable[[], Awaitable[None]]) -> kopf.OperatorRegistry:
    """A registry that knows how to log in. `stop` is called before kopf ends all tasks that it did not find at its
    start, whosever they are."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry, id="login")
    def kopf_login(settings: kopf.OperatorSettings, **_: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(settings=settings) or kopf.login_with_kubeconfig(settings=settings)

    @kopf.on.cleanup(registry=registry, id="stop")
    async def kopf_cleanup(**_: Any) -> None:
        await stop()

    return registry


def login() -> Credentials:
    """The same login for our own requests. Raises KubeUnavailable."""
    settings = kopf.OperatorSettings()
    info = kopf.login_with_service_account(settings=settings) or kopf.login_with_kubeconfig(settings=settings)
    if info is None:
        raise KubeUnavailable("there is neither a service account nor a kubeconfig to reach the API server with")
    return info
