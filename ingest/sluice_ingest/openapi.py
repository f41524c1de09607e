"""The intake in OpenAPI's words, for `/docs`.

The intake is a plain ASGI application, which Litestar cannot describe by itself. Invariant: every reason that the
intake can answer with stands here, taken from the vocabulary rather than written again.
"""

from litestar import Litestar
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import (
    Example,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    Parameter,
    PathItem,
    Reference,
    RequestBody,
    Schema,
    SecurityRequirement,
    SecurityScheme,
)
from litestar.openapi.spec.components import Components

from sluice_core import reasons
from sluice_core.reasons import Reason
from sluice_ingest.page import Page

INTAKE_PATHS = ["/ingest", "/v1/ingest"]

_RECORD = Schema(
    type=OpenAPIType.OBJECT,
    description="One log line or event. Fields other than these become attributes.",
    properties={
        "text": Schema(type=OpenAPIType.STRING, description="The line. `data` is another name for it."),
        "log_id": Schema(type=OpenAPIType.STRING, description="1 to 256 bytes; made up when absent."),
        "tenant_id": Schema(type=OpenAPIType.STRING, description="Only compared with the key's tenant."),
        "timestamp": Schema(
            one_of=[Schema(type=OpenAPIType.STRING), Schema(type=OpenAPIType.NUMBER)],
            description="The event's own time: RFC 3339, or a number counted from the epoch.",
        ),
        "attributes": Schema(type=OpenAPIType.OBJECT, description="Whatever else is known about the event."),
    },
)
_PROBLEM = Schema(
    type=OpenAPIType.OBJECT,
    description="RFC 9457 problem details.",
    properties={
        "type": Schema(type=OpenAPIType.STRING),
        "title": Schema(type=OpenAPIType.STRING, description="What happened and what to do."),
        "status": Schema(type=OpenAPIType.INTEGER),
        "detail": Schema(type=OpenAPIType.STRING),
        "code": Schema(type=OpenAPIType.STRING, description="Stable; one of the reasons."),
        "retryable": Schema(type=OpenAPIType.BOOLEAN),
        "request_id": Schema(type=OpenAPIType.STRING),
    },
)
_ACCEPTED = Schema(
    type=OpenAPIType.OBJECT,
    properties={
        "status": Schema(type=OpenAPIType.STRING, const="accepted"),
        "tenant_id": Schema(type=OpenAPIType.STRING),
        "log_id": Schema(type=OpenAPIType.STRING, description="Of a request that was not a batch."),
        "message_id": Schema(type=OpenAPIType.STRING),
        "request_id": Schema(type=OpenAPIType.STRING),
        "accepted": Schema(type=OpenAPIType.INTEGER),
        "log_ids": Schema(type=OpenAPIType.ARRAY, items=Schema(type=OpenAPIType.STRING)),
        "rejected": Schema(type=OpenAPIType.ARRAY, items=Schema(type=OpenAPIType.OBJECT)),
        "rejected_total": Schema(type=OpenAPIType.INTEGER),
    },
)
_HEADERS = {
    "Idempotency-Key": "Makes generated ids depend on this key, so that a retry stores nothing twice.",
    "X-Request-Id": "Returned, and stored with each document as `correlation_id`.",
    "X-Tenant-ID": "Only compared with the key's tenant; `X-Scope-OrgID` likewise.",
    "X-Log-ID": "Id of the request's only record.",
    "Content-Encoding": "gzip, zstd or deflate.",
    "traceparent": "W3C trace context, stored with each document.",
}
_QUERY = {
    "split": "`lines` makes each line of a text body a record.",
    "return": "`ids` lists the ids of all accepted records.",
}


def openapi_config() -> OpenAPIConfig:
    """Where the description is served and how requests authenticate."""
    return OpenAPIConfig(
        title="Sluice ingest",
        version="1",
        description="Every record that got a 202 is durable, and is stored once in its tenant's own database.",
        path="/docs",
        render_plugins=[Page()],
        components=Components(
            security_schemes={
                "bearer": SecurityScheme(type="http", scheme="bearer", description="The tenant's key."),
                "basic": SecurityScheme(type="http", scheme="basic", description="The key as password, any user."),
            }
        ),
    )


def describe_intake(app: Litestar) -> None:
    """Add the intake's operation to the application's description."""
    paths = app.openapi_schema.paths
    assert paths is not None  # noqa: S101 - the generated description always has the operational routes
    for path in INTAKE_PATHS:
        paths[path] = PathItem(post=_operation(path))


def _operation(path: str) -> Operation:
    parameters: list[Parameter | Reference] = [_parameter(name, "header", text) for name, text in _HEADERS.items()]
    parameters += [_parameter(name, "query", text) for name, text in _QUERY.items()]
    return Operation(
        operation_id="ingest" + "V1" * path.startswith("/v1"),
        tags=["Intake"],
        summary="Take in one record or a batch",
        description="Answers after the broker has acknowledged every envelope that holds a part of the request.",
        parameters=parameters,
        security=[_requirement("bearer"), _requirement("basic")],
        request_body=RequestBody(
            required=True,
            content={
                "application/json": OpenAPIMediaType(
                    schema=Schema(one_of=[_RECORD, Schema(type=OpenAPIType.ARRAY, items=_RECORD)]),
                    examples={"one": Example(value={"text": "User 555-0199 accessed from IP 192.168.1.100"})},
                ),
                "application/x-ndjson": OpenAPIMediaType(schema=Schema(type=OpenAPIType.STRING)),
                "text/plain": OpenAPIMediaType(schema=Schema(type=OpenAPIType.STRING)),
            },
        ),
        responses={
            "202": OpenAPIResponse(
                description="Durable.", content={"application/json": OpenAPIMediaType(schema=_ACCEPTED)}
            ),
            **{str(status): _problem_response(status) for status in sorted({r.status for r in _answers()})},
        },
    )


def _answers() -> list[Reason]:
    return [reason for reason in reasons.ALL.values() if reason.status not in {0, 404}]


def _problem_response(status: int) -> OpenAPIResponse:
    lines = [f"`{reason.code}`: {reason.sentence}" for reason in _answers() if reason.status == status]
    content = {"application/problem+json": OpenAPIMediaType(schema=_PROBLEM)}
    return OpenAPIResponse(description="\n\n".join(lines), content=content)


def _parameter(name: str, where: str, text: str) -> Parameter:
    return Parameter(
        name=name,
        param_in=where,
        description=text,
        required=False,
        schema=Schema(type=OpenAPIType.STRING),
    )


def _requirement(name: str) -> SecurityRequirement:
    return {name: []}
