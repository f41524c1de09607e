"""The life of a worker process: connect, learn the tenants, work, stop.

Invariant: nothing is fetched before the tenants are known, and after SIGTERM what was being written is finished or
given back before the connections close.
"""

import asyncio
import logging
import secrets
import signal
from functools import partial

from sluice_core.collector import collect_regularly
from sluice_core.edge.broker import Broker
from sluice_core.edge.heartbeats import beat, beat_once
from sluice_core.edge.pull import Puller
from sluice_core.edge.store import LogStore, connect
from sluice_core.edge.tenants_view import TenantsView
from sluice_core.heartbeat import WorkerHeartbeat
from sluice_core.names import worker_heartbeat_subject
from sluice_core.tasks import end
from sluice_worker.breadcrumb import open_breadcrumb
from sluice_worker.handle import Message
from sluice_worker.heartbeat_book import HeartbeatBook
from sluice_worker.letter_writer import LetterWriter
from sluice_worker.loop import Loop
from sluice_worker.monitor import Monitor
from sluice_worker.preparation import Preparation
from sluice_worker.preparers import Preparers
from sluice_worker.settings import WorkerSettings

log = logging.getLogger(__name__)

_TURN_SECONDS = 1.0
_SPARE_SECONDS = 5.0
"""For what the end takes beside what is being written."""


async def work(settings: WorkerSettings) -> int:
    """Run until SIGTERM or SIGINT; returns the exit code, 1 when the broker refused us for good."""
    stop = asyncio.Event()
    failed = asyncio.Event()

    def give_up() -> None:
        failed.set()
        stop.set()

    events = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        events.add_signal_handler(name, stop.set)

    broker = Broker(settings, on_closed=give_up)
    store = LogStore(connect(settings.mongodb_uri, timeout_ms=int(settings.store_timeout * 1000)))
    view = TenantsView(broker)
    monitor = Monitor(settings.host, settings.port)
    monitor.is_ready = lambda: view.complete and broker.connected and not stop.is_set()
    turning = asyncio.create_task(_turn(monitor))
    collecting = asyncio.create_task(collect_regularly())
    running = asyncio.create_task(_run(settings, broker, view, store))
    running.add_done_callback(lambda _: stop.set())
    await stop.wait()
    log.info("stopping")
    await end(running, again=settings.shutdown_timeout + _SPARE_SECONDS)
    result = (await asyncio.gather(running, return_exceptions=True))[0]
    if isinstance(result, Exception):
        log.error("the worker failed", exc_info=result)
        failed.set()
    await end(turning, collecting)
    await broker.close()
    store.close()
    monitor.close()
    log.info("stopped")
    return 1 if failed.is_set() else 0


async def _run(settings: WorkerSettings, broker: Broker, view: TenantsView, store: LogStore) -> None:
    await broker.connect()
    following = asyncio.create_task(view.run())
    try:
        while not await view.confirm(5.0):
            log.info("waiting until the tenants can be read")
        instance = secrets.token_hex(8)
        subject = worker_heartbeat_subject(instance)
        book = HeartbeatBook(instance, settings.lane)
        clock = asyncio.get_running_loop().time

        def finished(message: Message) -> None:
            book.settle(message.volumes(), clock())

        puller = Puller(broker, settings.lane)
        await puller.start()
        loop = Loop(
            puller,
            view,
            store,
            Preparation(Preparers(bytes.fromhex(settings.master_secret)), open_breadcrumb(settings.state_dir)),
            LetterWriter(broker),
            in_flight_bytes=settings.in_flight_bytes,
            parallel_writes=settings.parallel_writes,
            seconds_per_char=settings.simulated_seconds_per_char,
            on_finished=finished,
        )

        def heartbeat(*, stopping: bool = False) -> WorkerHeartbeat:
            idle = loop.idle and puller.nothing_waits
            return book.make(clock(), seen=view.seen, refusing=loop.refusing, idle=idle, stopping=stopping)

        log.info("working", extra={"lane": settings.lane, "instance": instance})
        beating = asyncio.create_task(beat(broker, subject, heartbeat))
        working = asyncio.create_task(loop.run())
        try:
            # All run for ever; a worker that no longer hears of its tenants must not go on with what it knew.
            ended, _ = await asyncio.wait([working, following, beating], return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()
        finally:
            await end(working)
            await puller.stop()
            await loop.stop(settings.shutdown_timeout)
            await end(beating)
            await beat_once(broker, subject, partial(heartbeat, stopping=True))
    finally:
        await end(following)


async def _turn(monitor: Monitor) -> None:
    while True:
        monitor.turn()
        await asyncio.sleep(_TURN_SECONDS)
