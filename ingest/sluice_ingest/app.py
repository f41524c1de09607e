"""The Litestar application: the intake and the routes around it.

Invariant: whatever goes wrong on any route is answered by a problem body.
"""

import time
from typing import Any, cast

from litestar import Litestar, Request, Response, asgi, get
from litestar.exceptions import HTTPException
from litestar.types import Receive, Scope, Send
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from sluice_core.errors import Refusal
from sluice_core.ids import format_id, uuid7
from sluice_core.reasons import (
    BODY_TOO_LARGE,
    DRAINING,
    INTERNAL,
    MALFORMED_REQUEST,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    NOT_READY,
    Reason,
)
from sluice_ingest.answers import problem
from sluice_ingest.body import Message
from sluice_ingest.body import Receive as AnyReceive
from sluice_ingest.body import Send as AnySend
from sluice_ingest.intake import Intake
from sluice_ingest.openapi import INTAKE_PATHS, describe_intake, openapi_config
from sluice_ingest.tenants import View

_REASONS: dict[int, Reason] = {404: NOT_FOUND, 405: METHOD_NOT_ALLOWED, 413: BODY_TOO_LARGE}


def create_app(intake: Intake, view: View) -> Litestar:
    """The application; `view` decides readiness."""

    @asgi(INTAKE_PATHS, copy_scope=False)
    async def take(scope: Scope, receive: Receive, send: Send) -> None:
        # Litestar types every kind of scope and message; an asgi route without websockets sees HTTP only.
        await intake(cast("Message", scope), cast("AnyReceive", receive), cast("AnySend", send))

    @get("/health", summary="Whether the process is alive", tags=["Operations"], sync_to_thread=False)
    def health() -> dict[str, str]:
        """Answers 200 as long as the process can answer at all; never depends on the broker."""
        return {"status": "alive"}

    @get("/readiness", summary="Whether requests should be sent here", tags=["Operations"], sync_to_thread=False)
    def readiness() -> Response[dict[str, str]]:
        """Answers 200 once the tenants are known and until the process begins to stop, else 503.

        Stays 200 while the broker is away: each request is then answered by a 503 that says when to retry.
        """
        if intake.draining:
            return Response({"status": DRAINING.code}, status_code=503)
        if not view.complete:
            return Response({"status": NOT_READY.code}, status_code=503)
        return Response({"status": "ready"})

    @get("/metrics", summary="Prometheus metrics", tags=["Operations"], sync_to_thread=False)
    def metrics() -> Response[bytes]:
        """In the Prometheus text format."""
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    app = Litestar(
        [take, health, readiness, metrics],
        openapi_config=openapi_config(),
        exception_handlers={HTTPException: _answer_http_error, Exception: _answer_error},
        # Our own formatter never prints messages of exceptions; Litestar's logging would.
        logging_config=None,
    )
    describe_intake(app)
    return app


def _answer_http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    # The framework refuses a request for few reasons of its own, and then the request is what is wrong.
    usual = MALFORMED_REQUEST if 400 <= error.status_code < 500 else INTERNAL
    return _answer_problem(_REASONS.get(error.status_code, usual))


def _answer_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    return _answer_problem(INTERNAL)


def _answer_problem(reason: Reason) -> Response[bytes]:
    answer = problem(Refusal(reason), format_id(uuid7(time.time_ns() // 1_000_000)))
    headers = {name.decode(): value.decode() for name, value in answer.headers}
    if reason is METHOD_NOT_ALLOWED:  # the intake answers for itself; every other route is only read
        headers["allow"] = "GET"
    return Response(answer.body, status_code=answer.status, headers=headers, media_type=headers.pop("content-type"))
