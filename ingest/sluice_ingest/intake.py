"""POST /ingest: the ladder of one request, from its headers to its answer.

Cheap and safe questions first: who is asking, may they, how large; the body is read only when all of that is answered.
A plain ASGI application mounted in Litestar, because the body must be read under the tenant's own limit and because
it is the hot path. Invariant: the only way to a 202 is through `GroupCommit.commit`.
"""

import asyncio
import logging
import time
from collections import Counter

import msgspec

from sluice_core.errors import Refusal
from sluice_core.heartbeat import Volume
from sluice_core.ids import format_id, uuid7
from sluice_core.limits import DEFAULT_LIMITS, KIB
from sluice_core.reasons import DRAINING, INTERNAL, METHOD_NOT_ALLOWED
from sluice_core.tenant import TenantConfig
from sluice_ingest.admit import admit, log_ids, submissions
from sluice_ingest.answers import CLOSE, Accepted, Answer, accepted, list_rejections, problem
from sluice_ingest.body import BodyReader, Message, Receive, Send, discard_body
from sluice_ingest.budget import Budget, Lease
from sluice_ingest.commit import GroupCommit, destination_of
from sluice_ingest.credentials import read_key_digest
from sluice_ingest.drafts import TEXT, Draft, Drafts, Texts, is_batch, read_drafts, read_source
from sluice_ingest.headers import (
    RequestHeaders,
    check_repeated,
    check_tenant,
    read_headers,
    read_query,
    read_request_id,
)
from sluice_ingest.inflate import Inflater
from sluice_ingest.metrics import REJECTED_RECORDS, REQUEST_SECONDS, accepted_by, requests_with
from sluice_ingest.quotas import Quotas
from sluice_ingest.tenants import Provisioning, View, find_key_holder, find_named_tenant

log = logging.getLogger(__name__)

_SMALL_BODY = 64 * KIB
_SMALL_ANSWER = 16 * KIB
"""Bytes that a connection may owe its sender without anybody accounting for them."""


class _Request(msgspec.Struct, gc=False):
    """What is known of a request before its body, and how far it is."""

    request_id: str
    message_id: str
    """`base` in its usual form; of a single record without an id it is the id, too."""
    received_at: int
    """Microseconds since the epoch."""
    base: int
    headers: RequestHeaders
    query: dict[str, str]
    source: str
    deadline: float
    """By the event loop's clock; what the sender takes to send its body is added."""
    read: bool = False
    """Whether its body was."""


class Intake:
    """The handler, with what it needs for the life of the process."""

    def __init__(
        self,
        view: View,
        commits: GroupCommit,
        provision: Provisioning | None,
        *,
        budget: Budget,
        bodies: BodyReader,
        inflater: Inflater,
        quotas: Quotas,
        request_timeout: float,
    ) -> None:
        """`provision` is set with `auth: none` only; `request_timeout` in seconds is the longest an answer takes us.

        What the sender takes to send its body does not count; that has a limit of its own.
        """
        self._view = view
        self._commits = commits
        self._provision = provision
        self._budget = budget
        self._bodies = bodies
        self._inflater = inflater
        self._quotas = quotas
        self._request_timeout = request_timeout
        self.draining = False

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request; never raises for anything a sender can do."""
        started = time.perf_counter()
        with self._budget.lease() as lease:
            answer = await self._answer(scope, receive, lease)
            REQUEST_SECONDS.observe(time.perf_counter() - started)
            headers = [*answer.headers, (b"content-length", str(len(answer.body)).encode())]
            await send({"type": "http.response.start", "status": answer.status, "headers": headers})
            closing = CLOSE in answer.headers
            more = closing or len(answer.body) > _SMALL_ANSWER
            await send({"type": "http.response.body", "body": answer.body, "more_body": more})
            if closing:
                lease.release()
                await discard_body(receive)
            if more:  # returns when most of the answer has been read; until then a large one stays leased
                await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _answer(self, scope: Message, receive: Receive, lease: Lease) -> Answer:
        now = time.time_ns()
        base = uuid7(now // 1_000_000)
        raw = dict(scope["headers"])
        message_id = format_id(base)
        request_id = read_request_id(raw) or message_id
        request: _Request | None = None
        try:
            if scope["method"] != "POST":
                raise Refusal(METHOD_NOT_ALLOWED)
            if self.draining:
                raise Refusal(DRAINING)
            if len(raw) != len(scope["headers"]):
                check_repeated(scope["headers"])
            headers = read_headers(raw)
            deadline = asyncio.get_running_loop().time() + self._request_timeout
            tenant = await self._authenticate(headers, deadline)
            query = read_query(scope["query_string"])
            source = read_source(headers.content_type)
            request = _Request(request_id, message_id, now // 1000, base, headers, query, source, deadline)
            return await self._take(request, tenant, receive, lease)
        except Refusal as refusal:
            requests_with(refusal.reason.code).inc()
            unread = request is None or not request.read
            return problem(refusal, request_id, close=unread and not _may_stay(refusal, raw))
        except Exception:  # the last line of defence; a 500 is a bug and is said to be one
            log.exception("a request failed unexpectedly", extra={"request_id": request_id})
            requests_with(INTERNAL.code).inc()
            return problem(Refusal(INTERNAL), request_id, close=True)

    async def _authenticate(self, headers: RequestHeaders, deadline: float) -> TenantConfig | None:
        """The key's tenant; None with `auth: none`, where only the body may know."""
        if self._provision is not None:
            return None
        tenant = await find_key_holder(self._view, read_key_digest(headers.authorization), _left(deadline))
        check_tenant(tenant.tenant_id, headers.tenants)
        self._quotas.check(tenant)
        return tenant

    async def _read(self, request: _Request, tenant: TenantConfig | None, receive: Receive, lease: Lease) -> bytes:
        loop = asyncio.get_running_loop()
        began = loop.time()
        headers = request.headers
        limit = (tenant.limits if tenant else DEFAULT_LIMITS).max_batch_bytes
        lease.holder = "" if tenant is None else tenant.tenant_id
        body = await self._bodies.read(receive, headers.content_length, limit, lease)
        request.read = True
        request.deadline += loop.time() - began
        if headers.content_encoding is None:
            return body
        return await self._inflater.inflate(body, headers.content_encoding, limit, lease)

    async def _take(self, request: _Request, tenant: TenantConfig | None, receive: Receive, lease: Lease) -> Answer:
        headers = request.headers
        body = await self._read(request, tenant, receive, lease)
        if tenant is not None and (self._view.tenant(tenant.tenant_id) is not tenant or self._view.stale):
            # A body may take its time, and the key may have been revoked meanwhile.
            tenant = await self._authenticate(headers, request.deadline)
        split = request.source == TEXT and request.query.get("split") == "lines"
        drafts = read_drafts(
            request.source,
            body,
            split_lines=split,
            headers_name_record=bool(headers.tenants) or headers.log_id is not None,
        )
        if tenant is None:
            tenant = await self._find_named(headers, drafts, request.deadline)
        prepared = _prepare(request, tenant, drafts, batch=is_batch(request.source, body, split_lines=split))
        # A request waits for its commit with its encoded bytes only: its records would be memory held for nothing.
        del drafts, body
        if prepared.submissions:
            volume = Volume(prepared.records, sum(map(len, prepared.submissions)))
            lease.resize(volume.size + len(prepared.answer.body))
            with self._quotas.charge(tenant, volume):
                await self._commits.commit(destination_of(tenant), prepared.submissions, request.deadline)
            records, size = accepted_by(tenant.tenant_id)
            records.inc(volume.records)
            size.inc(volume.size)
        requests_with(prepared.outcome).inc()
        return prepared.answer

    async def _find_named(self, headers: RequestHeaders, drafts: Drafts | Texts, deadline: float) -> TenantConfig:
        assert self._provision is not None  # noqa: S101 - without keys there is always somebody to ask
        in_body = [] if isinstance(drafts, Texts) else [one.tenant_id for one in drafts if isinstance(one, Draft)]
        named = [*headers.tenants, *in_body]
        tenant = await find_named_tenant(self._view, named, self._provision, _left(deadline))
        check_tenant(tenant.tenant_id, headers.tenants)
        self._quotas.check(tenant)
        return tenant


def _left(deadline: float) -> float:
    """Seconds until then."""
    return max(0.0, deadline - asyncio.get_running_loop().time())


def _may_stay(refusal: Refusal, headers: dict[bytes, bytes]) -> bool:
    """Whether a connection may stay open although its body was not read.

    Whoever waits as told comes again, and letting a small body pass costs less than another connection.
    """
    length = headers.get(b"content-length", b"")
    return refusal.reason.status == 429 and length.isdigit() and int(length) <= _SMALL_BODY


class _Prepared(msgspec.Struct, frozen=True, gc=False):
    """What a request comes down to: what has to be durable, and what is answered once it is."""

    submissions: list[bytes]
    """Empty when every record was refused."""
    records: int
    outcome: str
    answer: Answer


def _prepare(request: _Request, tenant: TenantConfig, drafts: Drafts | Texts, *, batch: bool) -> _Prepared:
    headers = request.headers
    admission = admit(
        drafts,
        tenant_id=tenant.tenant_id,
        max_record_bytes=tenant.limits.max_record_bytes,
        log_id=headers.log_id,
        idempotency_key=headers.idempotency_key,
    )
    records, rejected = admission.records, admission.rejected
    if rejected:
        for code, number in Counter(rejection.refusal.reason.code for rejection in rejected).items():
            REJECTED_RECORDS.labels(tenant.tenant_id, code).inc(number)
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
