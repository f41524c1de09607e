"""A running Sluice as a test sees it: tenants to make, requests to send, and every place where a record may end.

Built on the stack that `sluice up` runs: real servers, real parts, no doubles. Invariant: nothing here hides a failure;
what retries says so in its name.
"""

import json
import os
import re
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import msgspec
from motor.motor_asyncio import AsyncIOMotorCollection, AsyncIOMotorDatabase

from sluice_core.edge.broker import Broker
from sluice_core.edge.lanes import lane_progress, last_sequence
from sluice_core.edge.letters import count_letters, list_letters
from sluice_core.edge.registry import Claim
from sluice_core.edge.secrets import TenantSecret
from sluice_core.errors import BrokerError
from sluice_core.letter import StoredLetter
from sluice_core.manifest import API_VERSION, KIND, load_tenants
from sluice_core.names import (
    LOGS_COLLECTION,
    STANDARD_LANE,
    WORKERS,
    dead_letter_subject,
    lane_stream,
    parked_subject,
    tenant_database,
)
from sluice_core.tenant import Tenant, TenantConfig
from sluice_local.embedded import EmbeddedStack
from sluice_local.server import Server
from support.metrics import read_metric
from support.waiting import eventually

JSON, NDJSON, TEXT = "application/json", "application/x-ndjson", "text/plain"

CANARY = f"canary{secrets.token_hex(6)}"
"""Stands in every line the tests send, so that one search shows where lines must not have got to."""

ENVIRON = {"PATH": os.environ.get("PATH", "")}

Document = dict[str, Any]
_numbers = count(1)


def line(what: str = "a line") -> str:
    """A text that no other test sends."""
    return f"{what} {CANARY} #{next(_numbers)}"


def unique_id(stem: str) -> str:
    """A tenant id, or any other id, that no other test uses."""
    slug = re.sub(r"[^a-z0-9]+", "-", stem.lower())[:30].strip("-") or "x"
    return f"{slug}-{next(_numbers)}"


def manifest(tenant_id: str, *, namespace: str = "tests", **spec: Any) -> Tenant:
    """A Tenant as its YAML file would say it."""
    document = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": tenant_id, "namespace": namespace},
        "spec": spec,
    }
    [tenant] = load_tenants(json.dumps(document))
    return tenant


class Account(msgspec.Struct, frozen=True):
    """A provisioned tenant and what its owner was given."""

    claim: Claim
    secret: TenantSecret

    @property
    def id(self) -> str:
        """The tenant id."""
        return self.claim.id

    @property
    def key(self) -> str:
        """Its first key."""
        return next(iter(self.secret.keys.values()))

    @property
    def config(self) -> TenantConfig:
        """What ingest and the workers were told."""
        assert self.claim.config is not None
        return self.claim.config

    @property
    def lane(self) -> str:
        """Where its records travel."""
        return self.config.lane


class Sluice:
    """One running stack."""

    def __init__(self, stack: EmbeddedStack, http: httpx.AsyncClient) -> None:
        self.stack = stack
        self.http = http

    @property
    def url(self) -> str:
        """Where ingest answers."""
        return self.stack.ingest.url

    @property
    def broker(self) -> Broker:
        """With the operator's rights."""
        return self.stack.rights.broker

    @property
    def servers(self) -> dict[str, Server]:
        """All four processes, more of ingest, and the workers of other lanes, by name."""
        servers = (self.stack.servers.nats, self.stack.servers.mongod, *self.stack.parts)
        return {server.name: server for server in servers}

    # -- tenants ---------------------------------------------------------------------------------------------------

    async def apply(self, tenant: Tenant) -> Account:
        """Provision a tenant as `sluice tenants apply` does."""
        claim = await self.stack.apply(tenant)
        secret = await self.stack.rights.secrets.read(claim.id)
        assert secret is not None
        return Account(claim, secret)

    async def tenant(self, tenant_id: str = "tenant", *, exactly: bool = False, **spec: Any) -> Account:
        """A tenant of the test's own; `exactly`: with this id, rather than one made unique."""
        return await self.apply(manifest(tenant_id if exactly else unique_id(tenant_id), **spec))

    # -- requests --------------------------------------------------------------------------------------------------

    async def send(
        self,
        tenant: Account | str | None,
        content: Any,
        kind: str | None = JSON,
        *,
        path: str = "/ingest",
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """POST with the tenant's key, or with the key given, or with none.

        `content` is sent as it is when it is bytes, text or an iterator (chunked then), and as JSON otherwise.
        """
        key = tenant.key if isinstance(tenant, Account) else tenant
        if isinstance(content, list | dict):
            content = json.dumps(content)
        own = {} if key is None else {"Authorization": f"Bearer {key}"}
        if kind is not None:
            own["Content-Type"] = kind
        all_headers = {name.encode(): value.encode() for name, value in {**own, **(headers or {})}.items()}
        return await self.http.post(self.url + path, content=content, params=query, headers=all_headers)

    # -- where records end -----------------------------------------------------------------------------------------

    def database(self, tenant: Account | str) -> AsyncIOMotorDatabase[Document]:
        """The tenant's database, with the administrator's rights."""
        return self.stack.rights.client[tenant_database(tenant if isinstance(tenant, str) else tenant.id)]

    def logs(self, tenant: Account | str) -> AsyncIOMotorCollection[Document]:
        """The tenant's documents, with the administrator's rights."""
        return self.database(tenant)[LOGS_COLLECTION]

    async def idle(self, *lanes: str, within: float = 30.0) -> None:
        """Wait until everything that the lanes took before this call is finished.

        By sequences: the consumer's number of pending messages lags behind the publisher's answer. Fails with what
        broker and workers say about it.
        """
        lanes = lanes or (STANDARD_LANE,)

        async def finished(lane: str) -> bool:
            progress = await lane_progress(self.broker, lane)
            return progress.finished >= progress.last

        async def nothing_left() -> bool:
            try:
                return all([await finished(lane) for lane in lanes])
            except BrokerError:
                return False

        try:
            await eventually(nothing_left, within=within)
        except AssertionError as error:
            raise AssertionError("\n".join([str(error), *[await self._describe(lane) for lane in lanes]])) from None

    async def _describe(self, lane: str) -> str:
        """All that tells why a lane does not come to rest."""
        said: list[str] = [f"lane {lane}:"]
        for call in (f"STREAM.INFO.{lane_stream(lane)}", f"CONSUMER.INFO.{lane_stream(lane)}.{WORKERS}"):
            try:
                answer = await self.broker.api(call)
            except BrokerError as error:
                said.append(f"{call}: {error}")
            else:
                said.append(f"{call}: {answer.get('state') or answer}")
        worker = self.servers.get(f"worker-{lane}")
        said.append("it has no worker" if worker is None else worker.process.log_tail())
        return "\n".join(said)

    async def documents(self, tenant: Account | str) -> list[Document]:
        """The tenant's documents by id, once its lane is idle."""
        await self.idle(tenant.lane if isinstance(tenant, Account) else STANDARD_LANE)
        return [document async for document in self.logs(tenant).find().sort("_id", 1)]

    async def document(self, tenant: Account) -> Document:
        """The tenant's only document."""
        [document] = await self.documents(tenant)
        return document

    async def texts(self, tenant: Account) -> list[str]:
        """The tenant's original texts, sorted."""
        return sorted([document["original_text"] for document in await self.documents(tenant)])

    async def dead_letters(self, tenant: Account | str) -> list[StoredLetter]:
        """The tenant's dead letters, once its lane is idle."""
        if isinstance(tenant, Account):
            await self.idle(tenant.lane)
        tenant_id = tenant if isinstance(tenant, str) else tenant.id
        return await list_letters(self.broker, dead_letter_subject(tenant_id), limit=10_000)

    async def parked(self, tenant: Account | str) -> list[StoredLetter]:
        """What of the tenant's is parked at this moment."""
        tenant_id = tenant if isinstance(tenant, str) else tenant.id
        return await list_letters(self.broker, parked_subject(tenant_id), limit=10_000)

    async def all_dead_letters(self) -> dict[str, list[StoredLetter]]:
        """Every dead letter by the tenant it is filed under."""
        tenants = [subject.removeprefix("dlq.") for subject in await count_letters(self.broker, "dlq.*")]
        return {tenant: await self.dead_letters(tenant) for tenant in tenants}

    async def databases(self) -> list[str]:
        """The tenant ids that have a database."""
        names: Sequence[str] = await self.stack.rights.client.list_database_names()
        return [name.removeprefix("tenant_") for name in names if name.startswith("tenant_")]

    async def published(self, lane: str = STANDARD_LANE) -> int:
        """How many messages the lane ever took: unchanged means that nothing can have been stored anywhere."""
        return await last_sequence(self.broker, lane)

    @asynccontextmanager
    async def nothing_published(self, lane: str = STANDARD_LANE) -> AsyncIterator[None]:
        """Fails when the lane takes a message meanwhile. The one proof that a refusal left nothing behind."""
        before = await self.published(lane)
        yield
        assert await self.published(lane) == before, "something of a refused request reached the lane"

    # -- signs of life ---------------------------------------------------------------------------------------------

    async def metric(self, part: str, name: str, **labels: str) -> float:
        """Sum of a metric's samples that have these labels."""
        return await read_metric(self.http, self.stack.endpoints.metrics[part], name, **labels)

    async def settled(self, tenant: Account | None, reason: str) -> int:
        """How many records of the tenant's lane the worker finished for this reason; None: of tenants unknown."""
        lane = STANDARD_LANE if tenant is None else tenant.lane
        tenant_id = "" if tenant is None else tenant.id
        name = "sluice_worker_records_total"
        return int(await self.metric(f"worker-{lane}", name, tenant=tenant_id, reason=reason))


@asynccontextmanager
async def running(
    data_dir: Path,
    *,
    environ: Mapping[str, str] | None = None,
    auth: str = "keys",
    lanes_without_worker: Sequence[str] = (),
    kind: type[EmbeddedStack] = EmbeddedStack,
) -> AsyncIterator[Sluice]:
    """A whole Sluice on ports of its own."""
    stack = kind(data_dir, environ={**ENVIRON, **(environ or {})}, auth=auth, lanes_without_worker=lanes_without_worker)
    limits = httpx.Limits(max_connections=200, max_keepalive_connections=50)
    async with stack, httpx.AsyncClient(timeout=30, limits=limits) as http:
        yield Sluice(stack, http)
