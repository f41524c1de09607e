"""A broker of three servers with three replicas of everything, around the one that the embedded stack starts.

Invariants: any one of the three may be away without anything being lost; the two that are made here have ended when the
context is left.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from sluice_core.edge.lanes import list_streams
from sluice_core.errors import BrokerError
from sluice_core.names import STANDARD_LANE, lane_stream
from sluice_core.tasks import end
from sluice_local.credentials import Credentials
from sluice_local.nats_server import NatsServer
from sluice_local.ports import HOST, Ports, free_port
from sluice_local.server import Server
from sluice_local.supervisor import supervise
from support.altered import altered_broker
from support.sluice import ENVIRON, Sluice, running
from support.waiting import eventually

REPLICAS = 3


class Cluster:
    """The servers by the names they know each other by, and what they say of their streams."""

    def __init__(self, sluice: Sluice, servers: dict[str, Server]) -> None:
        self.sluice = sluice
        self.servers = servers

    async def leader(self, lane: str = STANDARD_LANE) -> str | None:
        """The server that leads the lane's stream."""
        info = await self._info(lane_stream(lane))
        return None if info is None else (info.get("cluster") or {}).get("leader")

    async def whole(self, *, within: float) -> None:
        """Wait until every stream has a leader and two followers that are there and current.

        One stream after the other: under load some follower of some stream is behind at any moment.
        """

        async def streams() -> list[str]:
            with suppress(BrokerError):
                return list(await list_streams(self.sluice.broker))
            return []

        async def one_is(name: str) -> bool:
            return _is_whole(await self._info(name))

        for name in await eventually(streams, within=within):
            await eventually(partial(one_is, name), within=within)

    async def _info(self, stream: str) -> dict[str, Any] | None:
        with suppress(BrokerError):
            return await self.sluice.broker.api(f"STREAM.INFO.{stream}", timeout=2)
        return None


def _is_whole(info: dict[str, Any] | None) -> bool:
    cluster = (info or {}).get("cluster") or {}
    replicas = cluster.get("replicas") or []
    current = [one for one in replicas if one.get("current") and not one.get("offline")]
    return bool(cluster.get("leader")) and len(current) == REPLICAS - 1


@asynccontextmanager
async def running_on_three_brokers(folder: Path) -> AsyncIterator[tuple[Sluice, Cluster]]:
    """A whole Sluice whose broker is a cluster."""
    data_dir = folder / "data"
    names = [f"sluice-{number}" for number in range(REPLICAS)]
    routes = {name: free_port() for name in names}
    programs = {name: altered_broker(folder, _clustering(name, routes), name) for name in names}
    secrets = Credentials.load_or_create(data_dir)
    servers: dict[str, Server] = {}
    async with AsyncExitStack() as stack:
        for name in names[1:]:
            place = folder / name
            place.mkdir()
            ports = Ports.choose(place)
            servers[name] = NatsServer(programs[name], place, ports=ports, secrets=secrets, environ=ENVIRON)
            stack.push_async_callback(servers[name].kill)
        # None is ready before a majority is there, so they start together.
        starting = [asyncio.create_task(server.start()) for server in servers.values()]
        for task in starting:
            stack.push_async_callback(end, task)
        sluice = await stack.enter_async_context(
            running(data_dir, environ={"SLUICE_NATS_SERVER": str(programs[names[0]])})
        )
        await asyncio.gather(*starting)
        for server in servers.values():
            stack.push_async_callback(end, asyncio.create_task(supervise(server)))
        cluster = Cluster(sluice, {names[0]: sluice.stack.servers.nats, **servers})
        provisioner = sluice.stack.rights.provisioner
        provisioner.platform = msgspec.structs.replace(provisioner.platform, replicas=REPLICAS)
        await sluice.stack.keeper.once()
        await cluster.whole(within=60)
        yield sluice, cluster


def _clustering(name: str, routes: dict[str, int]) -> dict[str, Any]:
    return {
        "server_name": name,
        "cluster": {
            "name": "sluice",
            "listen": f"{HOST}:{routes[name]}",
            "routes": [f"nats://{HOST}:{port}" for port in routes.values()],
        },
    }
