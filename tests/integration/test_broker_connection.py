"""Our end of the connection to the broker: what becomes of it while the broker comes and goes."""

import gc

import psutil

from sluice_core.edge.broker import Broker
from sluice_local.credentials import OPERATOR_USER
from sluice_local.operator_rights import Login
from sluice_local.ports import HOST
from support.proxy import Proxy, State
from support.sluice import Sluice
from support.waiting import eventually


def connections_to(port: int) -> int:
    """How many this process has open."""
    return sum(bool(one.raddr) and one.raddr.port == port for one in psutil.Process().net_connections("tcp"))


async def test_attempts_that_failed_leave_no_connection_open(sluice: Sluice) -> None:
    servers = sluice.stack.servers
    async with Proxy(servers.ports.nats) as proxy:
        broker = Broker(Login(f"nats://{HOST}:{proxy.port}", OPERATOR_USER, servers.credentials.nats_operator))
        await broker.connect()
        gc.disable()  # it would close them, sooner or later
        try:
            ours = connections_to(proxy.port)
            proxy.set(State.CUT)
            before = proxy.accepted

            async def tried() -> bool:
                return proxy.accepted >= before + 3

            await eventually(tried, within=20)
            proxy.set(State.OPEN)

            async def back() -> bool:
                return broker.connected

            await eventually(back, within=20)
            assert connections_to(proxy.port) == ours == 1
        finally:
            gc.enable()
            await broker.close()
