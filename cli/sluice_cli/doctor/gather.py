"""Looking at everything, in bounded time, whatever of it is there.

Invariants: nothing is changed; what cannot be looked at is noted with its reason, and the rest is looked at all the
same.
"""

import asyncio
import os
import shutil
import stat
import sys
import time
from collections.abc import Awaitable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec

from sluice_cli.doctor.facts import DiskFacts, Facts, MachineFacts, MonitorFacts, PartFacts, PathFacts
from sluice_core.edge.heartbeats import Roster
from sluice_core.edge.inspection import BrokerFacts, StoreFacts, inspect_broker, inspect_store, read_claims
from sluice_core.edge.lanes import bucket_definition, consumer_definition, dead_letters_definition
from sluice_core.edge.registry import Claim
from sluice_core.edge.tenants_view import REREAD_SECONDS
from sluice_core.errors import SluiceError
from sluice_core.heartbeat import HEARTBEAT_SECONDS
from sluice_core.names import DLQ_STREAM, STANDARD_LANE, TENANTS_STREAM, lane_stream
from sluice_local.credentials import Credentials
from sluice_local.endpoints import Endpoints
from sluice_local.operator_rights import OperatorRights
from sluice_local.ports import HOST, Ports
from sluice_local.probes import accepts_connections

T = TypeVar("T")

_CONNECT_SECONDS = 3.0
_LOOK_SECONDS = 30.0
_NOBODY = "nobody listens where it should be"
_LISTEN_SECONDS = REREAD_SECONDS + 2 * HEARTBEAT_SECONDS
"""Everybody alive has read what the bucket held before it, and said so since."""

_PRIVATE = ("*", "logs/*", "secrets/*")
"""Below the data directory: what holds secrets or text, or keeps what does from others."""


async def gather(data: Path) -> Facts:
    """All facts about the stack on `data`. Raises LocalStackError when a file of the data directory is damaged."""
    credentials, ports = Credentials.load(data), Ports.load(data)
    endpoints = Endpoints.load(data)
    broker_listens = ports is not None and await _listens(ports.nats)
    store_listens = ports is not None and await _listens(ports.mongod)
    if not broker_listens and not store_listens:
        endpoints = None  # of a stack that was killed
    machine = await asyncio.to_thread(
        look_at_machine, data, known=credentials is not None, running=endpoints is not None
    )
    if credentials is None or ports is None:
        return Facts(machine=machine, broker=_NOBODY, store=_NOBODY, monitor=_NOBODY, claims={})
    rights = OperatorRights(data, credentials, ports)
    try:
        claims = await _told(read_claims(rights.client)) if store_listens else _NOBODY
        return await _gather(machine, rights, ports, endpoints, claims, broker_listens=broker_listens)
    finally:
        if broker_listens:
            await rights.close()
        else:  # that connection was never begun, and its client cannot close what it did not begin
            rights.client.close()


async def _gather(
    machine: MachineFacts,
    rights: OperatorRights,
    ports: Ports,
    endpoints: Endpoints | None,
    claims: dict[str, Claim] | str,
    *,
    broker_listens: bool,
) -> Facts:
    before: dict[str, Claim] = {} if isinstance(claims, str) else claims
    roster = Roster(rights.broker)
    connected = await _told(_connect(rights, roster), _CONNECT_SECONDS) if broker_listens else _NOBODY
    broker: BrokerFacts | str = (
        connected if isinstance(connected, str) else await _told(inspect_broker(rights.broker, _lanes(before)))
    )
    looked = time.monotonic()
    living = [claim.id for claim in before.values() if claim.state == "Active"]
    store: StoreFacts | str = claims if isinstance(claims, str) else await _told(inspect_store(rights.client, living))
    after = await _told(read_claims(rights.client)) if before else {}
    monitor, parts = await asyncio.gather(_monitor(ports), _parts(endpoints))
    if not isinstance(broker, str):
        await asyncio.sleep(looked + _LISTEN_SECONDS - time.monotonic())
    return Facts(
        machine=machine,
        broker=broker,
        store=store,
        monitor=monitor,
        claims=before,
        moving=changed(before, {} if isinstance(after, str) else after),
        streams=wanted_streams(rights, before),
        consumer=consumer_definition(),
        parts=parts,
        heard=tuple(roster.live()),
    )


async def _connect(rights: OperatorRights, roster: Roster) -> None:
    await rights.broker.connect()
    await roster.start()


def changed(before: dict[str, Claim], after: dict[str, Claim]) -> frozenset[str]:
    """The tenants whose claims are not the same in both."""
    return frozenset(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))


def _lanes(claims: dict[str, Claim]) -> set[str]:
    return {STANDARD_LANE} | {claim.config.lane for claim in claims.values() if claim.config}


def wanted_streams(rights: OperatorRights, claims: dict[str, Claim]) -> dict[str, dict[str, Any]]:
    """The streams there should be, as provisioning defines them."""
    platform = rights.provisioner.platform
    living = {key: claim for key, claim in claims.items() if claim.state == "Active"}
    return {
        TENANTS_STREAM: bucket_definition(replicas=platform.replicas),
        DLQ_STREAM: dead_letters_definition(max_bytes=platform.dead_letters_max_bytes, replicas=platform.replicas),
        **{lane_stream(lane): rights.provisioner.lane_definition(lane) for lane in sorted(_lanes(living))},
    }


async def _told(work: Awaitable[T], seconds: float = _LOOK_SECONDS) -> T | str:
    """The result, or in words why there is none."""
    try:
        async with asyncio.timeout(seconds):
            return await work
    except SluiceError as error:
        return str(error)
    except (TimeoutError, OSError):
        return f"no answer within {seconds:g} s"


async def _listens(port: int) -> bool:
    """Whether anybody does, which is known at once; the servers' clients would wait in hope."""
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            return await accepts_connections(port)()
    except OSError:
        return False


class _JetStreamConfig(msgspec.Struct):
    max_storage: int = 0
    sync_always: bool | None = None
    sync_interval: int | None = None


class _JetStreamStats(msgspec.Struct, frozen=True):
    reserved_storage: int = 0


class _JetStream(msgspec.Struct):
    config: _JetStreamConfig | None = None
    stats: _JetStreamStats = _JetStreamStats()


class _Monitoring(msgspec.Struct):
    jetstream: _JetStream


async def _monitor(ports: Ports) -> MonitorFacts | str:
    """What nats-server's `/varz` says of JetStream; `sync_always` is left out of it where it is not set."""
    url = f"http://{HOST}:{ports.nats_monitor}/varz"
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=_CONNECT_SECONDS) as http:
            page = (await http.get(url)).content
        jetstream = msgspec.json.decode(page, type=_Monitoring).jetstream
    except (httpx.HTTPError, msgspec.DecodeError, UnicodeDecodeError):
        return "its monitoring does not answer"
    config = jetstream.config
    if config is None:
        return "its monitoring says nothing of JetStream"
    # Servers that say neither are older than those that tell how they flush.
    sync = None if config.sync_always is None and config.sync_interval is None else bool(config.sync_always)
    return MonitorFacts(sync_always=sync, max_storage=config.max_storage, reserved=jetstream.stats.reserved_storage)


async def _parts(endpoints: Endpoints | None) -> tuple[PartFacts, ...]:
    if endpoints is None:
        return ()
    async with httpx.AsyncClient(trust_env=False, timeout=_CONNECT_SECONDS) as http:

        async def look(name: str, metrics: str) -> PartFacts:
            url = metrics.removesuffix("/metrics")
            try:
                ready = (await http.get(f"{url}/readiness")).status_code == httpx.codes.OK
            except httpx.HTTPError:
                ready = False
            return PartFacts(name=name, url=url, ready=ready)

        return tuple(await asyncio.gather(*(look(name, url) for name, url in sorted(endpoints.metrics.items()))))


def look_at_machine(data: Path, *, known: bool, running: bool) -> MachineFacts:
    """Versions, permissions and disks; blocks for a moment."""
    return MachineFacts(
        data=data,
        python=sys.version_info[:3],
        sluice=version("sluice"),
        known=known,
        running=running,
        paths=tuple(_paths(data)) if known else (),
        broker_disk=_disk(data / "nats"),
        store_disk=_disk(data / "mongod"),
    )


def _paths(data: Path) -> list[PathFacts]:
    found = []
    for path in [data, *sorted(path for pattern in _PRIVATE for path in data.glob(pattern))]:
        with suppress(FileNotFoundError):  # a draft that was put in its place meanwhile
            status = path.lstat()
            found.append(
                PathFacts(
                    path=path,
                    mode=stat.S_IMODE(status.st_mode),
                    ours=status.st_uid == os.getuid(),
                )
            )
    return found


def _disk(path: Path) -> DiskFacts | None:
    try:
        return DiskFacts(path=path, free=shutil.disk_usage(path).free)
    except OSError:
        return None
