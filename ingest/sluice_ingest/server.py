"""Running the application: uvicorn in this process, with the life of the process in our hands.

uvicorn was chosen by measurement (docs/decisions/0002): it stops reading a body that nobody takes, and it stops when
told to. Invariant: after SIGTERM every request that was taken gets its true answer, within the shutdown timeout.
"""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Iterator

import uvicorn
from litestar import Litestar

from sluice_core.edge.broker import Broker
from sluice_core.edge.tenants_view import TenantsView
from sluice_core.errors import SluiceError
from sluice_ingest.app import create_app
from sluice_ingest.commit import GroupCommit
from sluice_ingest.intake import Intake
from sluice_ingest.metrics import QUEUED_BYTES, TENANTS
from sluice_ingest.settings import IngestSettings
from sluice_ingest.tenants import Provisioning

log = logging.getLogger(__name__)

_IDLE_SECONDS = 75
"""Keep-alive: longer than the 60 s of usual ingress controllers, so that they never reuse what we just closed."""


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
    commits = GroupCommit(
        broker,
        in_flight=settings.commits_in_flight,
        publish_timeout=settings.publish_timeout,
        request_timeout=settings.request_timeout - settings.publish_timeout,
        max_queued_bytes=settings.max_queued_bytes,
    )
    TENANTS.set_function(lambda: len(view.tenants()))
    QUEUED_BYTES.set_function(lambda: commits.queued_bytes)
    intake = Intake(view, commits, Provisioning(broker) if settings.auth == "none" else None)
    server = _Server(server_config(create_app(intake, view), settings))
    # The broker may come later than we do: requests are answered 503 until then.
    following = asyncio.create_task(_follow(broker, view))
    following.add_done_callback(lambda task: None if task.cancelled() else stop.set())
    serving = asyncio.create_task(server.serve())
    serving.add_done_callback(lambda _: stop.set())
    await stop.wait()
    if serving.done():  # it could not bind: uvicorn has said why
        failed.set()
    log.info("stopping")
    intake.draining = True
    server.should_exit = True
    await asyncio.wait([serving], timeout=settings.shutdown_timeout + 1)
    await commits.drain()
    following.cancel()
    result = await asyncio.gather(following, serving, return_exceptions=True)
    await broker.close()
    broken = [error for error in result if isinstance(error, Exception)]
    log.info("stopped")
    return 1 if failed.is_set() or broken else 0


async def _follow(broker: Broker, view: TenantsView) -> None:
    try:
        await broker.connect()
        log.info("connected to the broker")
        await view.run()
    except SluiceError:
        log.exception("the tenants cannot be followed")
        raise


def server_config(app: Litestar, settings: IngestSettings) -> uvicorn.Config:
    """How uvicorn runs the application; also for the bare echo that benchmarks compare with."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="none",
        http="httptools",
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
