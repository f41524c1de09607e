"""One child process: a server of the embedded stack, or a part of Sluice itself.

Invariants: it has its own session, so a terminal's Ctrl-C reaches only the parent, which stops its children in order;
it does not outlive the parent (see `tether`); all it prints is in its log file.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from sluice_local.errors import LocalStackError, ProcessFailedError
from sluice_local.files import make_directory
from sluice_local.probes import Probe

T = TypeVar("T")

_TETHER = str(Path(__file__).with_name("tether.py"))
_PROBE_PAUSE = 0.03
"""Seconds between two probes: short beside any server's start."""

_LOG_LIMIT = 32 * 1024 * 1024
"""Bytes; a longer log is put aside as `.1` when the process is started the next time."""

_TAIL_BYTES = 8 * 1024
_TAIL_LINES = 20


class ChildProcess:
    """A running or finished child process. Made by `start`."""

    def __init__(self, name: str, log: Path, log_start: int, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.log = log
        self._log_start = log_start
        self._process = process

    @classmethod
    async def start(
        cls,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str],
        cwd: Path | None = None,
        pass_fds: Sequence[int] = (),
    ) -> Self:
        """Start `command` (an absolute path and its arguments) with exactly the environment `env`.

        `name` is for messages. Output is appended to `log`, which is made with mode 0600. The child dies with the
        *thread* that calls this, so that must be one that lasts as long as the parent: the event loop's.
        A command that cannot be run shows as exit code 127, with the reason in the log.
        Raises LocalStackError where the log cannot be written or no process can be made.
        """
        try:
            handle, log_start = _open_log(log)
        except OSError as error:
            raise LocalStackError(f"{log} cannot be written ({error.strerror}); check the directory") from None
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", _TETHER, str(os.getpid())),
                *map(str, command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=handle,
                stderr=asyncio.subprocess.STDOUT,
                env=dict(env),
                cwd=cwd,
                pass_fds=pass_fds,
                start_new_session=True,
            )
        except OSError as error:
            raise LocalStackError(f"{name} cannot be started ({error.strerror}); check the machine's limits") from None
        finally:
            os.close(handle)
        return cls(name, log, log_start, process)

    @property
    def pid(self) -> int:
        """Process id, also after the end."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Exit code, minus the signal's number where one ended it, None while it runs."""
        return self._process.returncode

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.returncode is None

    async def wait(self) -> int:
        """Wait for its end; the return code as in `returncode`."""
        return await self._process.wait()

    async def wait_ready(self, probe: Probe, timeout: float) -> None:
        """Wait until `probe` says yes.

        Raises ProcessFailedError at once when the process ends first, or after `timeout` seconds.
        """
        await self.while_running(_until_yes(probe), timeout)

    async def while_running(self, work: Coroutine[Any, Any, T], timeout: float) -> T:
        """The result of `work`, which makes sense only while the process runs and is cancelled when it ends.

        Raises ProcessFailedError at once when the process ends first, or after `timeout` seconds; and what `work`
        raises.
        """
        task = asyncio.create_task(work)
        end = asyncio.create_task(self.wait())
        try:
            await asyncio.wait({task, end}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if not self.running:
                raise self._failure(f"{self.name} {self._how_it_ended()} while it was starting")
            if not task.done():
                raise self._failure(f"{self.name} was not ready after {timeout:g} s")
            return task.result()
        finally:
            task.cancel()
            end.cancel()
            await asyncio.gather(task, end, return_exceptions=True)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the process itself; nothing happens when it has ended."""
        # Not by asyncio's call: that looks for the end itself, and where it is the first to see it, asyncio's own
        # watcher reports exit code 255 for every end.
        self._signal(os.kill, number)

    async def stop(self, grace: float) -> int:
        """Ask it to end, and kill it with all its own children after `grace` seconds; the return code.

        When this is cancelled (a second Ctrl-C), it is killed at once.
        """
        self.send_signal(signal.SIGTERM)
        # One that was stopped by SIGSTOP would not see the request.
        self.send_signal(signal.SIGCONT)
        try:
            async with asyncio.timeout(grace):
                return await self.wait()
        except TimeoutError:
            return await self.kill()
        except asyncio.CancelledError:
            self._kill_group()
            raise

    async def kill(self) -> int:
        """End it and all its own children with SIGKILL; the return code."""
        self._kill_group()
        return await self.wait()

    def log_tail(self) -> str:
        """The last lines it printed since this start, at most 20."""
        try:
            with self.log.open("rb") as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(max(self._log_start, end - _TAIL_BYTES))
                lines = file.read().decode(errors="replace").splitlines()
        except OSError:
            return ""
        return "\n".join(lines[-_TAIL_LINES:])

    def _failure(self, what: str) -> ProcessFailedError:
        return ProcessFailedError(f"{what}; its log, {self.log}, says why", self.log_tail())

    def _how_it_ended(self) -> str:
        code = self._process.returncode or 0
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    def _kill_group(self) -> None:
        self._signal(os.killpg, signal.SIGKILL)

    def _signal(self, send: Callable[[int, int], None], number: signal.Signals) -> None:
        # Only while it is not reaped: after that its number may be somebody else's.
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                send(self.pid, number)


async def _until_yes(probe: Probe) -> None:
    while True:
        with contextlib.suppress(OSError, EOFError):
            if await probe():
                return
        await asyncio.sleep(_PROBE_PAUSE)


def _open_log(path: Path) -> tuple[int, int]:
    """A descriptor that appends to `path`, and where its new part begins, in bytes."""
    make_directory(path.parent)
    if path.exists() and path.stat().st_size > _LOG_LIMIT:
        path.replace(path.with_name(path.name + ".1"))
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    return handle, os.fstat(handle).st_size
