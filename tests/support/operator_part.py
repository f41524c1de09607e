"""The operator as a process of a test's own."""

import asyncio
import sys
from pathlib import Path

from sluice_local.probes import answers_ok
from sluice_local.process import ChildProcess
from sluice_local.server import Server


class OperatorPart(Server):
    """`python -m sluice_operator`."""

    name = "operator"
    grace = 20.0

    def _prepare(self) -> list[str | Path]:
        return [sys.executable, "-m", "sluice_operator"]

    async def _wait_ready(self, process: ChildProcess) -> None:
        await process.wait_ready(answers_ok(self.port, "/health"), 30.0)

    async def command(self, *arguments: str) -> tuple[int, str]:
        """Run one of its commands, as `kubectl exec` in its pod would; exit code, and what it said."""
        process = await asyncio.create_subprocess_exec(
            *self._prepare(),
            *arguments,
            env=dict(self._environ),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        return process.returncode or 0, said.decode()
