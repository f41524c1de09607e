"""The life of the operator: what it is made of, what runs all the time, and how kopf is set up.

One replica, standalone, replaced rather than rolled: kopf has no election, and idempotent steps make a short overlap
harmless. Invariant: it starts and stays up whether or not broker and database are there; Tenants say what they wait
for.
"""

import asyncio
import logging
import signal
from contextlib import suppress

import kopf

from sluice_core.edge.broker import Broker
from sluice_core.edge.heartbeats import Roster
from sluice_core.edge.keeper import Keeper
from sluice_core.edge.provision import Platform, Provisioner
from sluice_core.edge.repair import Repair
from sluice_core.edge.secrets import SecretStore, TenantSecret
from sluice_core.edge.store import connect
from sluice_core.errors import SluiceError
from sluice_core.names import STANDARD_LANE
from sluice_core.tasks import end
from sluice_core.tenant import Scaling
from sluice_operator.backlog import SharedBacklog
from sluice_operator.caps import caps_of, default_limits
from sluice_operator.counting import Counting
from sluice_operator.events import Events
from sluice_operator.handlers import register
from sluice_operator.kopf_setup import kopf_settings, login, make_registry, quieten_kopf
from sluice_operator.kube.client import Kube
from sluice_operator.lane_watch import LaneWatch
from sluice_operator.lanes import LaneObjects
from sluice_operator.manifests import LaneOwner, Place
from sluice_operator.metrics import DRIFT, SWEPT
from sluice_operator.monitor import Monitor
from sluice_operator.pulse import Pulse
from sluice_operator.reconcile import Reconciler
from sluice_operator.removal import Removal
from sluice_operator.service import Service
from sluice_operator.settings import OperatorSettings

log = logging.getLogger(__name__)

_STANDARD_SECONDS = 30.0
_STANDARD_RETRY_SECONDS = 1.0
_SOON_SECONDS = 2.0
_CONNECT_SECONDS = 0.5
"""By then the broker is connected, if it is there."""
_NO_OWNER = LaneOwner()


class NoSecrets(SecretStore):
    """Where no tenant is at hand: provisioning is given the Secret of one when it works on it."""

    async def read(self, tenant_id: str) -> TenantSecret | None:
        """Nothing."""
        raise NotImplementedError(tenant_id)

    async def write(self, tenant_id: str, secret: TenantSecret) -> None:
        """Nowhere."""
        raise NotImplementedError(tenant_id)

    async def delete(self, tenant_id: str) -> None:
        """Nothing."""
        raise NotImplementedError(tenant_id)


class Operator:
    """Everything the operator consists of. Made in a running event loop."""

    def __init__(self, settings: OperatorSettings, stop: asyncio.Event) -> None:
        self.settings = settings
        self._stop = stop
        self._failed = self._stopping = False
        self._standard_was_there = False
        self._sweep_soon = asyncio.Event()
        self._background: list[asyncio.Task[None]] = []
        self.kube = Kube(login)
        self.broker = Broker(settings, on_closed=self._give_up)
        self._client = connect(settings.mongodb_uri, timeout_ms=int(settings.store_timeout * 1000))
        caps = caps_of(settings)
        platform = Platform(
            mongodb_hosts=settings.mongodb_hosts,
            worker_password=settings.mongodb_worker_password,
            lane_max_bytes=settings.lane_max_bytes,
            dedicated_lane_max_bytes=settings.dedicated_lane_max_bytes,
            dead_letters_max_bytes=settings.dead_letters_max_bytes,
            replicas=settings.nats_replicas,
            default_limits=default_limits(caps),
        )
        self.provisioner = Provisioner(self.broker, self._client, NoSecrets(), platform)
        place = Place(
            namespace=settings.namespace,
            monitoring=settings.nats_monitoring,
            account=settings.nats_account,
            polling_seconds=settings.polling_seconds,
            cooldown_seconds=settings.cooldown_seconds,
        )
        self.lanes = LaneObjects(self.kube, place, settings.worker_template)
        backlog = SharedBacklog()
        self.roster = Roster(self.broker, backlog.hear)
        events = Events(self.kube)
        self.removal = Removal(
            self.broker,
            self.provisioner,
            self.kube,
            self.lanes,
            self.roster,
            events,
            timeout=settings.deletion_timeout,
        )
        self.service = Service(
            self.kube,
            Reconciler(self.provisioner, self.kube, self.lanes, caps, settings.ingest_url),
            self.removal,
            events,
            concurrency=settings.concurrency,
            deletions=settings.deletions,
            on_leaving=self._sweep_soon.set,
        )
        repair = Repair(
            self.broker,
            self.provisioner,
            roster=self.roster,
            remove_workers=self.lanes.remove,
            alone=False,
        )
        self.keeper = Keeper(self.broker, repair, asyncio.Lock(), self.service.mended)
        self.counting = Counting(
            self.broker,
            self.provisioner.access,
            self.kube,
            self.roster,
            self.service.book,
            backlog,
            settings.counts_seconds,
        )
        self.pulse = Pulse(settings.drift_seconds, lambda: len(self.service.book.pages()))
        self._watch = LaneWatch(self.kube, settings.namespace, settings.worker_template, self._lane_changed)
        self._touched = asyncio.Event()

    async def run(self) -> int:
        """Until `stop` is set; returns the exit code, 1 when it had to give up."""
        monitor = Monitor(self.settings.host, self.settings.port, self.pulse.alive, self.service.book.census)
        await monitor.start()
        self._background = [
            asyncio.create_task(work)
            for work in (
                self._connect_and_keep(),
                self._keep_standard_lane(),
                self._watch.run(),
                self._sweep(),
                self.counting.run(),
            )
        ]
        for task in self._background:
            task.add_done_callback(self._ended)
        registry = make_registry(self._stop_background)
        register(registry, self.service, self.pulse, self.settings.drift_seconds)
        try:
            await kopf.operator(
                registry=registry,
                settings=kopf_settings(),
                standalone=True,
                clusterwide=not self.settings.namespaces,
                namespaces=list(self.settings.namespaces),
                stop_flag=self._stop,
            )
        finally:
            await self._stop_background()
            await monitor.stop()
            await self.broker.close()
            self._client.close()
            await self.kube.close()
        return 1 if self._failed else 0

    async def _stop_background(self) -> None:
        self._stopping = True
        await end(*self._background)
        await self.service.stop()

    def _give_up(self) -> None:
        self._failed = True
        self._stop.set()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and not self._stopping:
            log.error("a part of the operator ended", exc_info=task.exception())
            self._give_up()

    async def _connect_and_keep(self) -> None:
        await self.broker.connect()
        while True:
            try:
                await self.roster.start()
                break
            except SluiceError:  # it broke off just now
                await asyncio.sleep(_CONNECT_SECONDS)
        await self.keeper.run()

    async def _keep_standard_lane(self) -> None:
        """The shared lane's objects; its stream and consumer are the keeper's."""
        settings = self.settings
        scaling = Scaling(
            min_replicas=settings.standard_min_replicas,
            max_replicas=settings.standard_max_replicas,
            lag_threshold=settings.standard_lag_threshold,
        )
        waiting = False
        await asyncio.sleep(_CONNECT_SECONDS)
        while True:
            self._touched.clear()
            pause = _STANDARD_SECONDS
            try:
                await self.provisioner.ensure_lane(STANDARD_LANE)
                look = await self.lanes.ensure(STANDARD_LANE, _NO_OWNER, scaling)
                for what in look.changed if self._standard_was_there else ():
                    if what != "template":
                        DRIFT.labels(what).inc()
                        log.warning("something of the shared lane had drifted", extra={"what": what})
                self._standard_was_there, waiting = True, False
            except SluiceError as error:
                if not waiting:
                    log.warning("the shared lane has to wait", extra={"error": str(error)})
                waiting, pause = True, _STANDARD_RETRY_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._touched.wait()

    def _lane_changed(self, lane: str | None) -> None:
        """An object of a lane was changed or deleted by somebody; None: the template of all was."""
        if lane in {None, STANDARD_LANE}:
            self._touched.set()
        for page in self.service.book.pages() if lane is None else self.service.book.of_lane(lane):
            if page.lane != STANDARD_LANE:
                self.service.soon(page)

    async def _sweep(self) -> None:
        pause = 5.0  # not at the very start: what is listed then may be half read back by a broker that starts too
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._sweep_soon.wait()
                    await asyncio.sleep(_SOON_SECONDS)
            self._sweep_soon.clear()
            pause = self.settings.sweep_seconds
            try:
                if retired := await self.removal.sweep(self.settings.namespaces):
                    SWEPT.inc(retired)
            except SluiceError as error:
                log.warning("the sweep has to wait", extra={"error": str(error)})
                pause = min(60.0, pause)


async def operate(settings: OperatorSettings) -> int:
    """Run until SIGTERM or SIGINT; returns the exit code."""
    quieten_kopf()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    try:
        return await Operator(settings, stop).run()
    except Exception:
        log.exception("the operator failed")
        return 1
