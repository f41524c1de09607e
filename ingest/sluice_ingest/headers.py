"""What a request's headers say, read once and checked.

Invariant: whatever a header contributes to a record or an answer (ids, trace) has a checked form and a bounded length.
"""

import re
from collections.abc import Iterable
from urllib.parse import parse_qsl

import msgspec

from sluice_core.errors import Refusal
from sluice_core.limits import MAX_LOG_ID_BYTES
from sluice_core.names import is_tenant_id
from sluice_core.reasons import INVALID_HEADER, OTHER_TENANT

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/=@+-]{1,128}")
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.{0,64})?")
_SINGLE = frozenset(
    {
        b"authorization",
        b"content-encoding",
        b"content-type",
        b"idempotency-key",
        b"x-log-id",
        b"x-scope-orgid",
        b"x-tenant-id",
    }
)
_MAX_IDEMPOTENCY_KEY = 255
_MOST_DIGITS = 18
"""Of a Content-Length; Python refuses to read thousands of them."""


class RequestHeaders(msgspec.Struct, frozen=True, gc=False):
    """The headers Sluice gives a meaning."""

    authorization: bytes | None
    content_type: bytes | None
    content_encoding: bytes | None
    content_length: int | None
    tenants: tuple[str, ...]
    """Every tenant the headers name; only ever compared with the key's."""
    log_id: str | None
    idempotency_key: str | None
    traceparent: str | None


def read_request_id(headers: dict[bytes, bytes]) -> str | None:
    """The sender's `X-Request-Id` when it is fit to be repeated, else None."""
    value = headers.get(b"x-request-id", b"")
    return value.decode("ascii") if _REQUEST_ID.fullmatch(value) else None


def check_repeated(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Raises Refusal with INVALID_HEADER when one that Sluice reads stands twice: nobody may hide a value in it."""
    names = [name for name, _ in headers if name in _SINGLE]
    if len(set(names)) != len(names):
        raise Refusal(INVALID_HEADER, f"Each of {', '.join(sorted(name.decode() for name in _SINGLE))} may stand once.")


def read_headers(headers: dict[bytes, bytes]) -> RequestHeaders:
    """Read the headers of a request. Raises Refusal with INVALID_HEADER."""
    get = headers.get
    traceparent = get(b"traceparent")
    length = get(b"content-length")
    tenant, scope = get(b"x-tenant-id"), get(b"x-scope-orgid")
    log_id = get(b"x-log-id")
    key = get(b"idempotency-key")
    return RequestHeaders(
        get(b"authorization"),
        get(b"content-type"),
        get(b"content-encoding"),
        int(length) if length is not None and length.isdigit() and len(length) <= _MOST_DIGITS else None,
        () if tenant is None and scope is None else _tenants(value for value in (tenant, scope) if value is not None),
        None if log_id is None else _text(log_id, "X-Log-ID", MAX_LOG_ID_BYTES),
        None if key is None else _text(key, "Idempotency-Key", _MAX_IDEMPOTENCY_KEY),
        traceparent.decode("latin-1") if traceparent and _TRACEPARENT.fullmatch(traceparent) else None,
    )


def read_query(query: bytes) -> dict[str, str]:
    """The query string's parameters; of a repeated one the last."""
    return dict(parse_qsl(query.decode("latin-1"))) if query else {}


def check_tenant(tenant_id: str, named: Iterable[str]) -> None:
    """Raises Refusal with OTHER_TENANT when any named tenant is not `tenant_id`."""
    if any(name != tenant_id for name in named):
        raise Refusal(OTHER_TENANT)


def _tenants(values: Iterable[bytes]) -> tuple[str, ...]:
    names = tuple(value.decode("latin-1") for value in values)
    if not all(is_tenant_id(name) for name in names):
        raise Refusal(INVALID_HEADER, "X-Tenant-ID must be a tenant id: 1 to 40 of a-z 0-9 - _.")
    return names


def _text(value: bytes, name: str, longest: int) -> str:
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        raise Refusal(INVALID_HEADER, f"{name} must be valid UTF-8.") from None
    if not 1 <= len(value) <= longest:
        raise Refusal(INVALID_HEADER, f"{name} must have 1 to {longest} bytes.")
    return text
