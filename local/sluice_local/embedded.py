"""The whole of Sluice on one machine: both servers, ingest, a worker for each lane, and the operator's work.

`sluice up`, `sluice demo`, the tests and the benchmarks use this one class. Invariants: it provisions through the same
code as the operator and repairs what was provisioned; a part that dies comes back; when the context is left everything
has stopped, ingest first and the database last, so that nothing is on its way to something that is gone.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Self

import msgspec

from sluice_core.edge.broker import Msg
from sluice_core.edge.keeper import Keeper
from sluice_core.edge.lanes import lanes_of, list_streams
from sluice_core.edge.registry import Claim
from sluice_core.edge.replica_set import set_up_replica_set
from sluice_core.edge.tenants_view import TenantsView
from sluice_core.errors import BrokerError, SluiceError
from sluice_core.names import PROVISION_SUBJECT, STANDARD_LANE, is_tenant_id
from sluice_core.tasks import end
from sluice_core.tenant import Tenant, TenantSpec
from sluice_local.credentials import ADMIN_USER, OPERATOR_USER, Credentials
from sluice_local.endpoints import Endpoints, TenantAccess, remove_endpoints
from sluice_local.operator_rights import OperatorRights
from sluice_local.part import Part, ingest_part, worker_part
from sluice_local.ports import free_port
from sluice_local.server import Server
from sluice_local.stack import Servers
from sluice_local.supervisor import supervise

log = logging.getLogger(__name__)

_REFRESH_SECONDS = 0.5


class EmbeddedStack:
    """A running Sluice. Everything but the constructor's arguments exists inside `async with` only."""

    servers: Servers
    rights: OperatorRights
    keeper: Keeper
    ingest: Part
    more_ingest: list[Part]
    """Replicas beside it, made by `start_ingest`."""
    workers: dict[str, Part]
    """By lane."""

    def __init__(
        self,
        data_dir: Path,
        *,
        environ: Mapping[str, str],
        port: int = 0,
        auth: str = "keys",
        tenants: Sequence[Tenant] = (),
        lanes_without_worker: Sequence[str] = (),
    ) -> None:
        """Nothing happens yet.

        `environ` is handed to all processes, so `SLUICE_*` settings reach the parts; a port of 0 means any free one;
        `tenants` are applied before ingest starts; a lane in `lanes_without_worker` gets none, as when scaled to zero.
        """
        self.data_dir = data_dir.expanduser().absolute()
        self._environ = environ
        self._port = port
        self._auth = auth
        self._tenants = tenants
        self._idle_lanes = frozenset(lanes_without_worker)
        self._supervision: dict[str, asyncio.Task[None]] = {}
        self._provisioning = asyncio.Lock()
        self._written: Endpoints | None = None

    @property
    def parts(self) -> list[Part]:
        """Sluice's own processes, now."""
        return [self.ingest, *self.more_ingest, *self.workers.values()]

    @property
    def endpoints(self) -> Endpoints:
        """Where everything is, now. A part that is started again shows as it was until it is ready."""
        servers: list[Server] = [self.servers.nats, self.servers.mongod, *self.parts]
        return Endpoints(
            ingest=self.ingest.url,
            nats=self.servers.nats_url.replace("://", f"://{OPERATOR_USER}:{self.servers.credentials.nats_operator}@"),
            mongodb=self.rights.mongodb_uri,
            metrics={part.name: f"{part.url}/metrics" for part in self.parts},
            pids={server.name: server.ready_pid for server in servers},
            tenants={config.tenant_id: self._access(config.tenant_id) for config in self._view.tenants()},
        )

    async def apply(self, tenant: Tenant) -> Claim:
        """Provision a tenant; returns when ingest's and the workers' next look will show it, a second at most."""
        async with self._provisioning:
            return await self.rights.provisioner.apply(tenant)

    async def __aenter__(self) -> Self:
        """Start everything and wait until it is ready. Raises SluiceError; then nothing is left running."""
        async with AsyncExitStack() as stack:
            self.servers = await stack.enter_async_context(
                Servers(self.data_dir, environ=self._environ, bootstrap=_bootstrap)
            )
            self.rights = OperatorRights(self.data_dir, self.servers.credentials, self.servers.ports)
            stack.push_async_callback(self.rights.close)
            await self.rights.broker.connect()
            await self.rights.repair.run()
            self.keeper = Keeper(self.rights.broker, self.rights.repair, self._provisioning)
            for tenant in self._tenants:
                await self.apply(tenant)
            self._view = TenantsView(self.rights.broker)
            for task in (self._view.run(), self.keeper.run()):
                stack.push_async_callback(end, asyncio.create_task(task))
            if not await self._view.confirm(10.0):
                raise SluiceError("the tenants could not be read back from the broker")
            if self._auth == "none":
                await self.rights.broker.subscribe(PROVISION_SUBJECT, self._provision)
            stack.push_async_callback(self._stop_parts)
            await self._start_parts()
            for server in (self.servers.nats, self.servers.mongod, self.ingest):
                self._supervise(server)
            refreshing = asyncio.create_task(self._refresh())
            stack.push_async_callback(end, refreshing)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop everything, in order."""
        await self._stack.aclose()

    async def _start_parts(self) -> None:
        self.ingest = self._make_ingest("ingest", self._port or free_port())
        self.more_ingest, self.workers = [], {}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.ingest.start())
                for lane in self._wanted_lanes():
                    group.create_task(self.start_worker(lane))
        except BaseExceptionGroup as failures:  # the first says enough, and its sentence is what a person should read
            raise failures.exceptions[0] from None
        self._write_endpoints()

    async def start_worker(self, lane: str) -> None:
        """Start a worker on a lane and keep it running; for lanes that were left without one."""
        worker = self._make_worker(lane)
        await worker.start()
        self.workers[lane] = worker
        self._idle_lanes -= {lane}
        self._supervise(worker)

    async def start_ingest(self) -> Part:
        """Start another ingest process, on a free port, and keep it running; it is called `ingest-2`, `ingest-3`."""
        part = self._make_ingest(f"ingest-{2 + len(self.more_ingest)}", free_port())
        await part.start()
        self.more_ingest.append(part)
        self._supervise(part)
        self._write_endpoints()
        return part

    def _make_ingest(self, name: str, port: int) -> Part:
        ports, secrets = self.servers.ports, self.servers.credentials
        return ingest_part(self.data_dir, port, self._environ, secrets, ports, auth=self._auth, name=name)

    def _make_worker(self, lane: str) -> Part:
        ports, secrets = self.servers.ports, self.servers.credentials
        return worker_part(self.data_dir, free_port(), self._environ, secrets, ports, lane=lane)

    @asynccontextmanager
    async def without(self, server: Server) -> AsyncIterator[None]:
        """Inside, a server is killed and stays so; afterwards it is started again and kept running."""
        await end(self._supervision.pop(server.name))
        await server.kill()
        try:
            yield
        finally:
            await server.start()
            self._supervise(server)
            self._write_endpoints()

    async def _stop_parts(self) -> None:
        remove_endpoints(self.data_dir)
        for task in self._supervision.values():
            await end(task)
        await asyncio.gather(*(ingest.stop() for ingest in (self.ingest, *self.more_ingest)))
        await asyncio.gather(*(worker.stop() for worker in self.workers.values()))

    def _wanted_lanes(self) -> set[str]:
        return ({STANDARD_LANE} | {config.lane for config in self._view.tenants()}) - self._idle_lanes

    async def _refresh(self) -> None:
        """Follow tenants that come and go, also by other processes' hands: lanes get workers, the file is current."""
        while True:
            await asyncio.sleep(_REFRESH_SECONDS)
            try:
                self._write_endpoints()  # first: parts are started again while the broker is away, too
                # A lane that no tenant takes any more has to be finished all the same before its stream can go.
                there = lanes_of(await list_streams(self.rights.broker)) - self._idle_lanes
                wanted = self._wanted_lanes() | there
                for lane in wanted - self.workers.keys():
                    await self.start_worker(lane)
                for lane in self.workers.keys() - wanted - there:
                    await end(self._supervision.pop(self.workers[lane].name))
                    await self.workers.pop(lane).stop()
            except (SluiceError, OSError) as error:
                log.warning("the stack could not follow its tenants", extra={"error": str(error)})

    def _supervise(self, server: Server) -> None:
        self._supervision[server.name] = asyncio.create_task(supervise(server))

    def _write_endpoints(self) -> None:
        endpoints = self.endpoints
        if endpoints != self._written:
            endpoints.write(self.data_dir)
            self._written = endpoints

    def _access(self, tenant_id: str) -> TenantAccess:
        secret = self.rights.secrets.load(tenant_id)
        if secret is None:
            return TenantAccess("", "")
        return TenantAccess(next(iter(secret.keys.values()), ""), secret.mongodb_uri)

    async def _provision(self, message: Msg) -> None:
        """Make the tenant that a request without a key named, for `auth: none`."""
        tenant_id = message.data.decode("ascii", "replace")
        made = False
        if is_tenant_id(tenant_id):
            try:
                if self._view.tenant(tenant_id) is None:
                    await self.apply(Tenant("default", tenant_id, tenant_id, TenantSpec()))
                made = True
            except SluiceError as error:
                log.warning("a tenant could not be made", extra={"tenant": tenant_id, "error": str(error)})
        with suppress(BrokerError):
            await self.rights.broker.send(message.reply, msgspec.json.encode(made))


async def _bootstrap(host: str, credentials: Credentials) -> None:
    name, _, port = host.partition(":")
    await set_up_replica_set(name, int(port), ADMIN_USER, credentials.mongodb_admin)
