"""Inflicting a schedule of faults on a running Sluice, and waiting until it has recovered.

Invariants: every fault of the schedule is inflicted, on a process that runs at that moment, later than scheduled if it
has to start first; whatever was paused goes on, and every connection is open again, also when the test is cancelled.
"""

import asyncio
import signal
from collections.abc import Mapping

import httpx

from sluice_local.part import Part
from sluice_local.ports import is_free
from sluice_local.process import ChildProcess
from sluice_local.server import Server
from support.proxy import Proxy, State
from support.schedule import Fault, Kind, Schedule
from support.sluice import Sluice
from support.waiting import eventually

RECOVERY_SECONDS = 90.0
"""Nothing may take this long: a start takes one to three, after failures the next is tried within five."""

ASKED_ENDS = {0, -signal.SIGKILL, -signal.SIGTERM}
"""Exit codes. One that was asked to stop may be killed by another fault, or may not listen to signals yet."""


STATES = {Kind.CUT: State.CUT, Kind.SILENCE: State.SILENT, Kind.SLOW: State.SLOW}


async def inflict(sluice: Sluice, schedule: Schedule, links: Mapping[str, Proxy] | None = None) -> None:
    """Do all that the schedule says; returns when the last pause is over and the last process hit has ended."""
    begun = asyncio.get_running_loop().time()
    async with asyncio.TaskGroup() as group:
        for fault in schedule.faults:
            if fault.kind in STATES:
                group.create_task(_disturb_at((links or {})[fault.target], fault, begun + fault.at))
            else:
                group.create_task(_inflict_at(sluice, fault, begun + fault.at))


async def _disturb_at(link: Proxy, fault: Fault, moment: float) -> None:
    await asyncio.sleep(moment - asyncio.get_running_loop().time())
    link.set(STATES[fault.kind])
    try:
        await asyncio.sleep(fault.seconds)
    finally:
        link.set(State.OPEN)


async def _inflict_at(sluice: Sluice, fault: Fault, moment: float) -> None:
    await asyncio.sleep(moment - asyncio.get_running_loop().time())
    server = sluice.servers[fault.target]
    if fault.kind is Kind.PAUSE:
        await _pause(await _running(server), fault.seconds)
        return
    code = None
    while code is None or (fault.kind is Kind.KILL and code != -signal.SIGKILL):
        process = await _running(server)
        process.send_signal(signal.SIGKILL if fault.kind is Kind.KILL else signal.SIGTERM)
        code = await asyncio.wait_for(process.wait(), RECOVERY_SECONDS)
        # Another fault may have been quicker; by itself nothing may end.
        assert code in ASKED_ENDS, f"{fault}: it ended with {code}\n{process.log_tail()}"


async def _pause(process: ChildProcess, seconds: float) -> None:
    process.send_signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        process.send_signal(signal.SIGCONT)


async def _running(server: Server) -> ChildProcess:
    async def running() -> ChildProcess | None:
        return server.process if server.running else None

    try:
        process = await eventually(running, within=RECOVERY_SECONDS, pause=0.005)
    except AssertionError:
        raise AssertionError(f"{server.name} was not started again:\n{server.process.log_tail()}") from None
    assert process is not None
    return process


async def all_ready(sluice: Sluice) -> None:
    """Wait until every process runs and says that it is ready. Fails with the log of one that does not."""
    await asyncio.gather(*(ready_again(sluice, server) for server in sluice.servers.values()))


async def ready_again(sluice: Sluice, server: Server) -> None:
    """Wait until this one runs and says that it is ready."""

    async def ready() -> bool:
        if not server.running:
            return False
        if not isinstance(server, Part):
            return not is_free(server.port)
        try:
            return (await sluice.http.get(f"{server.url}/readiness")).status_code == 200
        except httpx.TransportError:
            return False

    try:
        await eventually(ready, within=RECOVERY_SECONDS)
    except AssertionError:
        raise AssertionError(f"{server.name} did not come back:\n{server.process.log_tail()}") from None
