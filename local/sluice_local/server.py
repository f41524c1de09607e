"""What the broker and the database have in common as servers of the stack.

Invariant: after `start` the server is ready for use, or it does not run; after `stop` or `kill` it does not run, and
`start` brings it back on the same data and the same port.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from sluice_local.errors import LocalStackError
from sluice_local.ports import require_free
from sluice_local.process import ChildProcess


class Server(ABC):
    """One server: how it is started, and the child process while there is one."""

    name: str
    grace: float
    """Seconds an orderly stop may take."""

    def __init__(self, data_dir: Path, port: int, environ: Mapping[str, str], pass_fds: Sequence[int] = ()) -> None:
        self.port = port
        self.data_dir = data_dir
        self._environ = environ
        self._pass_fds = tuple(pass_fds)
        self._process: ChildProcess | None = None
        self._ready: ChildProcess | None = None

    @property
    def process(self) -> ChildProcess:
        """The current child process, or the last one. Raises LocalStackError before the first start."""
        if self._process is None:
            raise LocalStackError(f"{self.name} was never started; call start first")
        return self._process

    @property
    def ready_pid(self) -> int:
        """Process id of the newest child process that became ready; one that is starting does not count yet.

        Raises LocalStackError before any was.
        """
        if self._ready is None:
            raise LocalStackError(f"{self.name} was never ready; call start first")
        return self._ready.pid

    @property
    def running(self) -> bool:
        """Whether there is a child process that has not ended."""
        return self._process is not None and self._process.running

    async def start(self) -> None:
        """Start and wait until it is ready; nothing happens when it runs already.

        Raises PortTakenError, ProcessFailedError and other LocalStackErrors, and the SluiceErrors of what sets it up.
        """
        if self.running:
            return
        require_free(self.port, self.name)
        self._process = await ChildProcess.start(
            self.name,
            self._prepare(),
            log=self.data_dir / "logs" / f"{self.name}.log",
            env=self._environ,
            cwd=self.data_dir,
            pass_fds=self._pass_fds,
        )
        try:
            await self._wait_ready(self._process)
        except BaseException:
            await self._process.kill()
            raise
        self._ready = self._process

    async def stop(self) -> None:
        """Stop in an orderly way; nothing happens when it does not run."""
        if self._process is not None and self._process.running:
            await self._process.stop(self.grace)

    async def kill(self) -> None:
        """End it with SIGKILL, as a crash would; nothing happens when it does not run."""
        if self._process is not None and self._process.running:
            await self._process.kill()

    @abstractmethod
    def _prepare(self) -> list[str | Path]:
        """Write what it needs to start; the command."""

    @abstractmethod
    async def _wait_ready(self, process: ChildProcess) -> None:
        """Return once it can be used; raise ProcessFailedError if it cannot."""
