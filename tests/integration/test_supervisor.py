"""What dies is started again, whatever a start fails with."""

import asyncio
import errno
import shutil
from pathlib import Path

import pytest

from sluice_core.errors import StoreUnavailable
from sluice_core.tasks import end
from sluice_local.errors import ProcessFailedError
from sluice_local.ports import free_port
from sluice_local.process import ChildProcess
from sluice_local.server import Server
from sluice_local.supervisor import supervise
from support.waiting import eventually


class Sleeper(Server):
    """A process that does nothing, and whose starts fail with what is asked for."""

    name = "sleeper"
    grace = 1.0

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, free_port(), {})
        (folder / "logs").mkdir()
        self.failures: list[Exception] = []

    def _prepare(self) -> list[str | Path]:
        sleep = shutil.which("sleep")
        assert sleep is not None
        return [sleep, "600"]

    async def _wait_ready(self, process: ChildProcess) -> None:
        if self.failures:
            raise self.failures.pop(0)


@pytest.mark.parametrize(
    "failure",
    [
        ProcessFailedError("it ended while it was starting", ""),
        # What a killed database's setting up says, when that is seen before the process's end is.
        StoreUnavailable("the database could not be set up (AutoReconnect)"),
        # What writing its settings or opening its log says.
        OSError(errno.ENOSPC, "No space left on device"),
    ],
    ids=lambda failure: type(failure).__name__,
)
async def test_a_server_whose_start_failed_is_started_once_more(tmp_path: Path, failure: Exception) -> None:
    server = Sleeper(tmp_path)
    await server.start()
    first = server.ready_pid
    server.failures = [failure]
    supervision = asyncio.create_task(supervise(server))

    async def ready_again() -> bool:
        return server.running and server.ready_pid != first

    try:
        await server.kill()
        await eventually(ready_again, within=30)
        assert not server.failures
    finally:
        await end(supervision)
        await server.stop()
