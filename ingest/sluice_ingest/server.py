"""Running the application: uvicorn in this process, with the life of the process in our hands.

uvicorn was chosen by measurement (docs/decisions/0002): it stops reading a body that nobody takes, and it stops when
told to. Invariant: after SIGTERM every request that was taken gets its true answer, and the process ends within the
shutdown timeout, usually within the few seconds that one answer may take.
"""

import asyncio
import contextlib
import logging
import resource
import signal
from collections.abc import Iterator
from functools import partial
from typing import Any, cast

import uvicorn
from litestar import Litestar

from sluice_core.collector import collect_regularly
from sluice_core.edge.broker import Broker
from sluice_core.edge.tenants_view import TenantsView
from sluice_core.tasks import end
from sluice_ingest.app import create_app
from sluice_ingest.body import BodyReader
from sluice_ingest.budget import Budget
from sluice_ingest.commit import GroupCommit
from sluice_ingest.inflate import Inflater
from sluice_ingest.intake import Intake
from sluice_ingest.metrics import CONNECTIONS, HELD_BYTES, QUEUED_BYTES, TENANTS
from sluice_ingest.protocol import Connection, watch_all
from sluice_ingest.quotas import Quotas
from sluice_ingest.reads import BoundedReads
from sluice_ingest.settings import IngestSettings
from sluice_ingest.tenants import Provisioning
from sluice_ingest.upkeep import Upkeep
from sluice_ingest.waits import Rules

log = logging.getLogger(__name__)

_IDLE_SECONDS = 75
"""Keep-alive: longer than the 60 s of usual ingress controllers, so that they never reuse what we just closed."""
_WATCH_SECONDS = 1.0
_HURRIED_WATCH_SECONDS = 0.1
_LAST_BODY_SECONDS = 1.0
"""What is half sent when the process stops has so long to be whole."""
_RESERVED_FILES = 128
"""Of the process's open files, for everything that is not a connection."""


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: the process decides when to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


async def serve(settings: IngestSettings) -> int:
    """Run until SIGTERM or SIGINT; returns the exit code, 1 when the broker refused us for good."""
    stop = asyncio.Event()
    failed = asyncio.Event()

    def give_up() -> None:
        failed.set()
        stop.set()

    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)

    broker = Broker(settings, on_closed=give_up)
    view = TenantsView(broker)
    quotas = Quotas(view.tenant)
    upkeep = Upkeep(broker, view, quotas)
    commits = GroupCommit(broker, in_flight=settings.commits_in_flight, publish_timeout=settings.publish_timeout)
    budget = Budget(settings.request_bytes, settings.tenant_request_bytes)
    bodies = BodyReader(settings.body_timeout)
    TENANTS.set_function(lambda: len(view.tenants()))
    QUEUED_BYTES.set_function(lambda: commits.queued_bytes)
    HELD_BYTES.set_function(lambda: budget.held)
    intake = Intake(
        view,
        commits,
        Provisioning(broker) if settings.auth == "none" else None,
        budget=budget,
        bodies=bodies,
        inflater=Inflater(),
        quotas=quotas,
        request_timeout=settings.request_timeout,
    )
    server = _Server(server_config(create_app(intake, view), settings))
    connections = server.server_state.connections
    CONNECTIONS.set_function(lambda: len(connections))
    # The broker may come later than we do: requests are answered 503 until then.
    following = asyncio.create_task(_follow(broker, view, upkeep))
    following.add_done_callback(lambda task: None if task.cancelled() else stop.set())
    serving = asyncio.create_task(server.serve())
    serving.add_done_callback(lambda _: stop.set())
    watching = asyncio.create_task(_watch(server, stop))
    collecting = asyncio.create_task(collect_regularly())
    await stop.wait()
    if serving.done():  # it could not bind: uvicorn has said why
        failed.set()
    log.info("stopping")
    intake.draining = True
    bodies.hurry(_LAST_BODY_SECONDS)
    server.should_exit = True
    await asyncio.wait([serving], timeout=settings.shutdown_timeout + 1)
    await commits.drain()
    await end(following, watching, collecting, serving)
    result = await asyncio.gather(following, serving, watching, return_exceptions=True)
    await upkeep.farewell()
    await broker.close()
    broken = [error for error in result if isinstance(error, Exception)]
    log.info("stopped")
    return 1 if failed.is_set() or broken else 0


async def _follow(broker: Broker, view: TenantsView, upkeep: Upkeep) -> None:
    try:
        await broker.connect()
        log.info("connected to the broker")
        await asyncio.gather(view.run(), upkeep.run())
    except Exception:
        log.exception("the tenants cannot be followed")
        raise


async def _watch(server: uvicorn.Server, stop: asyncio.Event) -> None:
    """End what goes on for too long at any connection, for ever."""
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_HURRIED_WATCH_SECONDS if stop.is_set() else _WATCH_SECONDS):
                await (asyncio.Event() if stop.is_set() else stop).wait()
        connections = server.server_state.connections
        watch_all(connections, asyncio.get_running_loop().time(), hurry=stop.is_set())


def raise_file_limit() -> None:
    """As many open files as the system lets this process have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # macOS names a limit that it does not grant
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def rules(settings: IngestSettings) -> Rules:
    """What holds for connections, on this machine."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    most = settings.max_connections
    if files != resource.RLIM_INFINITY:
        most = max(1, min(most, files - _RESERVED_FILES))
    return Rules(most, settings.header_timeout, _IDLE_SECONDS, settings.body_timeout)


def _connect(limits: Rules, **uvicorns: Any) -> BoundedReads:
    return BoundedReads(Connection(limits, **uvicorns))


def server_config(app: Litestar, settings: IngestSettings) -> uvicorn.Config:
    """How uvicorn runs the application; also for the bare echo that benchmarks compare with."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="none",
        http=cast("Any", partial(_connect, rules(settings))),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=int(settings.shutdown_timeout),
        backlog=4096,
    )
