"""What dies is started again, whatever a start fails with."""

import asyncio
import shutil
from pathlib import Path

import pytest

from sluice_core.errors import SluiceError, StoreUnavailable
from sluice_core.tasks import end
from sluice_local.errors import ProcessFailedError
from sluice_local.ports import free_port
from sluice_local.process import ChildProcess
from sluice_local.server import Server
from sluice_local.supervisor import supervise


class Sleeper(Server):
    """A process that does nothing, and whose starts fail with what is asked for."""

    name = "sleeper"
    grace = 1.0

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, free_port(), {})
        (folder / "logs").mkdir()
        self.failures: list[SluiceError] = []

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
    ],
    ids=lambda failure: type(failure).__name__,
)
async def test_a_server_whose_start_failed_is_started_once_more(tmp_path: Path, failure: SluiceError) -> None:
    server = Sleeper(tmp_path)
    await server.start()
    first = server.ready_pid
    again = asyncio.Event()
    server.failures = [failure]
    supervision = asyncio.create_task(supervise(server, lambda _: again.set()))
    try:
        await server.kill()
        await asyncio.wait_for(again.wait(), 30)
        assert server.running
        assert server.ready_pid != first
        assert not server.failures
    finally:
        await end(supervision)
        await server.stop()
