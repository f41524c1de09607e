"""POST /ingest: the ladder of one request, from its headers to its answer.

Cheap and safe questions first: who is asking, may they, how large; the body is read only when all of that is answered.
A plain ASGI application mounted in Litestar, because the body must be read under the tenant's own limit and because
it is the hot path. Invariant: the only way to a 202 is through `GroupCommit.commit`.
"""

import logging
import time
from typing import NamedTuple

from sluice_core.errors import Refusal
from sluice_core.ids import format_id, uuid7
from sluice_core.limits import DEFAULT_LIMITS
from sluice_core.reasons import DRAINING, INTERNAL, METHOD_NOT_ALLOWED
from sluice_core.tenant import TenantConfig
from sluice_ingest.admit import admit, log_ids, submissions
from sluice_ingest.answers import CLOSE, Accepted, Answer, accepted, list_rejections, problem
from sluice_ingest.body import Message, Receive, Send, discard_body, inflate, read_body
from sluice_ingest.commit import GroupCommit
from sluice_ingest.credentials import read_key_digest
from sluice_ingest.drafts import TEXT, Draft, Drafts, is_batch, read_drafts, read_source
from sluice_ingest.headers import (
    RequestHeaders,
    check_repeated,
    check_tenant,
    read_headers,
    read_query,
    read_request_id,
)
from sluice_ingest.metrics import REJECTED_RECORDS, REQUEST_SECONDS, accepted_by, requests_with
from sluice_ingest.tenants import Provisioning, View, find_key_holder, find_named_tenant

log = logging.getLogger(__name__)


class _Request(NamedTuple):
    """What is known of a request before its body."""

    request_id: str
    message_id: str
    """`base` in its usual form; of a single record without an id it is the id, too."""
    received_at: int
    """Microseconds since the epoch."""
    base: int
    headers: RequestHeaders
    query: dict[str, str]
    source: str


class Intake:
    """The handler, with what it needs for the life of the process."""

    def __init__(self, view: View, commits: GroupCommit, provision: Provisioning | None) -> None:
        self._view = view
        self._commits = commits
        self._provision = provision
        """Set with `auth: none` only."""
        self.draining = False

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request; never raises for anything a sender can do."""
        started = time.perf_counter()
        answer = await self._answer(scope, receive)
        REQUEST_SECONDS.observe(time.perf_counter() - started)
        headers = [*answer.headers, (b"content-length", str(len(answer.body)).encode())]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        closing = CLOSE in answer.headers
        await send({"type": "http.response.body", "body": answer.body, "more_body": closing})
        if closing:
            await discard_body(receive)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _answer(self, scope: Message, receive: Receive) -> Answer:
        now = time.time_ns()
        base = uuid7(now // 1_000_000)
        raw = dict(scope["headers"])
        message_id = format_id(base)
        request_id = read_request_id(raw) or message_id
        unread = True
        try:
            if scope["method"] != "POST":
                raise Refusal(METHOD_NOT_ALLOWED)
            if self.draining:
                raise Refusal(DRAINING)
            if len(raw) != len(scope["headers"]):
                check_repeated(scope["headers"])
            headers = read_headers(raw)
            tenant = await self._authenticate(headers)
            query = read_query(scope["query_string"])
            source = read_source(headers.content_type)
            request = _Request(request_id, message_id, now // 1000, base, headers, query, source)
            limit = (tenant.limits if tenant else DEFAULT_LIMITS).max_batch_bytes
            body = await read_body(receive, headers.content_length, limit)
            unread = False
            body = await inflate(body, headers.content_encoding, limit)
            return await self._take(request, tenant, body)
        except Refusal as refusal:
            requests_with(refusal.reason.code).inc()
            return problem(refusal, request_id, close=unread)
        except Exception:  # the last line of defence; a 500 is a bug and is said to be one
            log.exception("a request failed unexpectedly", extra={"request_id": request_id})
            requests_with(INTERNAL.code).inc()
            return problem(Refusal(INTERNAL), request_id, close=True)

    async def _authenticate(self, headers: RequestHeaders) -> TenantConfig | None:
        """The key's tenant; None with `auth: none`, where only the body may know."""
        if self._provision is not None:
            return None
        tenant = await find_key_holder(self._view, read_key_digest(headers.authorization))
        check_tenant(tenant.tenant_id, headers.tenants)
        return tenant

    async def _take(self, request: _Request, tenant: TenantConfig | None, body: bytes) -> Answer:
        headers = request.headers
        split = request.source == TEXT and request.query.get("split") == "lines"
        drafts = read_drafts(
            request.source,
            body,
            split_lines=split,
            headers_name_record=bool(headers.tenants) or headers.log_id is not None,
        )
        if tenant is None:
            tenant = await self._find_named(headers, drafts)
        prepared = _prepare(request, tenant, drafts, batch=is_batch(request.source, body, split_lines=split))
        # A request waits for its commit with its encoded bytes only: its records would be memory held for nothing.
        del drafts, body
        if prepared.submissions:
            await self._commits.commit(tenant.lane, prepared.submissions)
            records, size = accepted_by(tenant.tenant_id)
            records.inc(prepared.records)
            size.inc(sum(map(len, prepared.submissions)))
        requests_with(prepared.outcome).inc()
        return prepared.answer

    async def _find_named(self, headers: RequestHeaders, drafts: Drafts) -> TenantConfig:
        assert self._provision is not None  # noqa: S101 - without keys there is always somebody to ask
        named = [*headers.tenants, *(draft.tenant_id for draft in drafts if isinstance(draft, Draft))]
        tenant = await find_named_tenant(self._view, named, self._provision)
        check_tenant(tenant.tenant_id, headers.tenants)
        return tenant


class _Prepared(NamedTuple):
    """What a request comes down to: what has to be durable, and what is answered once it is."""

    submissions: list[bytes]
    """Empty when every record was refused."""
    records: int
    outcome: str
    answer: Answer


def _prepare(request: _Request, tenant: TenantConfig, drafts: Drafts, *, batch: bool) -> _Prepared:
    headers = request.headers
    admission = admit(
        drafts,
        tenant_id=tenant.tenant_id,
        max_record_bytes=tenant.limits.max_record_bytes,
        log_id=headers.log_id,
        idempotency_key=headers.idempotency_key,
    )
    records, rejected = admission.records, admission.rejected
    for rejection in rejected:
        REJECTED_RECORDS.labels(tenant.tenant_id, rejection.refusal.reason.code).inc()
    if not records:
        first = rejected[0].refusal
        return _Prepared([], 0, first.reason.code, problem(first, request.request_id, rejected if batch else ()))
    encoded = submissions(
        records,
        tenant_id=tenant.tenant_id,
        uid=tenant.uid,
        request_id=request.request_id,
        source=request.source,
        received_at=request.received_at,
        base=request.base,
        traceparent=headers.traceparent,
    )
    listed, total = list_rejections(rejected)
    answer = accepted(
        Accepted(
            status="accepted",
            tenant_id=tenant.tenant_id,
            log_id=None if batch else records[0].log_id or request.message_id,
            message_id=request.message_id,
            request_id=request.request_id,
            accepted=len(records),
            log_ids=log_ids(records, request.base) if request.query.get("return") == "ids" else None,
            rejected=listed,
            rejected_total=total,
        )
    )
    return _Prepared(encoded, len(records), "accepted", answer)
