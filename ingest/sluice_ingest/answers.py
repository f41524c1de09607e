"""The native protocol's answers: the 202 and the problem body (RFC 9457).

Invariant: every answer carries the request id, and every one that invites a retry says after how long.
"""

from collections.abc import Sequence
from math import ceil

import msgspec

from sluice_core.errors import Refusal
from sluice_core.reasons import KEY_INVALID, KEY_MISSING, METHOD_NOT_ALLOWED
from sluice_ingest.admit import Rejection

MAX_LISTED_REJECTIONS = 1000
"""A body of tiny bad records must not be answered by a far larger one; `rejected_total` has the whole number."""
RETRY_AFTER_SECONDS = 1
LONGEST_RETRY_AFTER_SECONDS = 60

Header = tuple[bytes, bytes]
CLOSE: Header = (b"connection", b"close")
_encode = msgspec.json.Encoder().encode


class Answer(msgspec.Struct, frozen=True, gc=False):
    """A status, headers without Content-Length, and a body."""

    status: int
    headers: list[Header]
    body: bytes


class RejectedRecord(msgspec.Struct, frozen=True):
    """A record that was refused while its batch mates were taken."""

    index: int
    code: str
    detail: str


class Accepted(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The body of a 202."""

    status: str
    tenant_id: str
    log_id: str | None = None
    """Of a request that was not a batch."""
    message_id: str
    request_id: str
    accepted: int
    log_ids: list[str] | None = None
    """On `?return=ids`."""
    rejected: list[RejectedRecord] | None = None
    rejected_total: int | None = None
    """Only when `rejected` does not list them all."""


class Problem(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The body of every refusal."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    retryable: bool
    request_id: str
    rejected: list[RejectedRecord] | None = None
    rejected_total: int | None = None


def list_rejections(rejections: Sequence[Rejection]) -> tuple[list[RejectedRecord] | None, int | None]:
    """The entries of `rejected`, and `rejected_total` where not all are listed."""
    if not rejections:
        return None, None
    listed = [
        RejectedRecord(rejection.index, rejection.refusal.reason.code, rejection.refusal.detail)
        for rejection in rejections[:MAX_LISTED_REJECTIONS]
    ]
    return listed, len(rejections) if len(rejections) > len(listed) else None


def accepted(body: Accepted) -> Answer:
    """The 202."""
    headers = [(b"content-type", b"application/json"), (b"x-request-id", body.request_id.encode())]
    return Answer(202, headers, _encode(body))


def problem(refusal: Refusal, request_id: str, rejections: Sequence[Rejection] = (), *, close: bool = False) -> Answer:
    """The answer to a request of which nothing was taken.

    `close` ends the connection, for a body that was not read to its end.
    """
    reason = refusal.reason
    rejected, total = list_rejections(rejections)
    body = Problem(
        type=f"urn:sluice:reason:{reason.code}",
        title=reason.sentence,
        status=reason.status,
        detail=refusal.detail,
        code=reason.code,
        retryable=reason.retryable,
        request_id=request_id,
        rejected=rejected,
        rejected_total=total,
    )
    headers = [(b"content-type", b"application/problem+json"), (b"x-request-id", request_id.encode())]
    if reason.retryable:
        seconds = min(max(ceil(refusal.retry_after), RETRY_AFTER_SECONDS), LONGEST_RETRY_AFTER_SECONDS)
        headers.append((b"retry-after", str(seconds).encode()))
    if reason in {KEY_MISSING, KEY_INVALID}:
        headers.append((b"www-authenticate", b'Bearer realm="sluice"'))
    if reason is METHOD_NOT_ALLOWED:
        headers.append((b"allow", b"POST"))
    if close:
        headers.append(CLOSE)
    return Answer(reason.status, headers, _encode(body))
