"""The broker and the database of one data directory, started and stopped together.

`sluice up`, `sluice demo` and the tests run on it. Invariants: one stack per data directory at a time; when the
context is left, by whatever road, both servers have ended; what they acknowledged is there at the next start.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from sluice_local import binaries
from sluice_local.credentials import Credentials
from sluice_local.endpoints import remove_endpoints
from sluice_local.lock import DirectoryLock
from sluice_local.mongod import Bootstrap, Mongod
from sluice_local.nats_server import MAX_FILE, NatsServer
from sluice_local.ports import Ports
from sluice_local.process import ChildProcess


class Servers:
    """Both servers. Everything but the constructor's arguments exists inside `async with` only.

    Fault tests use the servers themselves: `await servers.nats.kill()`, then `await servers.nats.start()`.
    """

    credentials: Credentials
    ports: Ports
    nats: NatsServer
    mongod: Mongod

    def __init__(
        self,
        data_dir: Path,
        *,
        environ: Mapping[str, str],
        bootstrap: Bootstrap,
        nats_port: int = 0,
        mongodb_port: int = 0,
        max_file: int = MAX_FILE,
    ) -> None:
        """Nothing happens yet.

        `environ` is handed to the servers and may name them (see `binaries`); a port of 0 means the one used the
        last time, or any free one; `max_file` is how many bytes all streams together may hold.
        """
        self.data_dir = data_dir.expanduser().absolute()
        self._environ = environ
        self._bootstrap = bootstrap
        self._nats_port = nats_port
        self._mongodb_port = mongodb_port
        self._max_file = max_file
        self._lock = DirectoryLock(self.data_dir)
        self._started: list[NatsServer | Mongod] = []

    @property
    def nats_url(self) -> str:
        """The broker's address, without a user."""
        return self.ports.nats_url

    @property
    def mongodb_host(self) -> str:
        """The database's `host:port`."""
        return self.ports.mongodb_host

    @property
    def processes(self) -> tuple[ChildProcess, ...]:
        """The current child processes: the broker's, then the database's."""
        return tuple(server.process for server in self._started)

    async def __aenter__(self) -> Self:
        """Start both and wait until both are ready.

        Raises LocalStackError, and what `bootstrap` raises; then nothing is left running.
        """
        binary_of_nats = await asyncio.to_thread(binaries.find, binaries.NATS_SERVER, self._environ)
        binary_of_mongod = await asyncio.to_thread(binaries.find, binaries.MONGOD, self._environ)
        await self._lock.acquire()
        try:
            # A killed owner's, and nobody else's: a stack that runs still has the lock and needs its file.
            remove_endpoints(self.data_dir)
            self.credentials = Credentials.load_or_create(self.data_dir)
            self.ports = Ports.choose(self.data_dir, nats=self._nats_port, mongod=self._mongodb_port)
            self.nats = NatsServer(
                binary_of_nats,
                self.data_dir,
                ports=self.ports,
                secrets=self.credentials,
                environ=self._environ,
                max_file=self._max_file,
                pass_fds=[self._lock.handle],
            )
            self.mongod = Mongod(
                binary_of_mongod,
                self.data_dir,
                ports=self.ports,
                secrets=self.credentials,
                environ=self._environ,
                bootstrap=self._bootstrap,
                pass_fds=[self._lock.handle],
            )
            self._started = [self.nats, self.mongod]
            async with asyncio.TaskGroup() as group:
                for server in self._started:
                    group.create_task(server.start())
        except BaseExceptionGroup as failures:
            await self._stop()
            # Both may have failed; the first says enough, and its sentence is what a person should read.
            raise failures.exceptions[0] from None
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop both: the broker first, so that nothing is on its way to the database when that goes."""
        await self._stop()

    async def _stop(self) -> None:
        try:
            for server in self._started:
                await server.stop()
        finally:
            # Reached with servers running only when this was cancelled: then at once and together.
            for server in self._started:
                await server.kill()
            self._lock.release()
