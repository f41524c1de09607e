"""The embedded database: mongod as a replica set of one member, with access control, on loopback.

A replica set because majority writes and retryable writes need one. Invariant: nobody without a password reads or
writes; only on a new database may a local client make the first user, which is the `bootstrap` callback's work.
"""

import base64
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from sluice_local.credentials import Credentials
from sluice_local.files import make_directory, read_private, write_private
from sluice_local.ports import HOST, Ports
from sluice_local.probes import accepts_connections
from sluice_local.process import ChildProcess
from sluice_local.server import Server

REPLICA_SET = "rs0"

Bootstrap = Callable[[str, Credentials], Awaitable[None]]
"""Called with `host:port` and the credentials after every start, so it has to find out what is already done.

It initiates the replica set, waits for the primary and makes the users. This package speaks no MongoDB itself.
"""

READY_TIMEOUT = 60.0
"""Seconds; after a crash the journal is replayed before the port opens."""

BOOTSTRAP_TIMEOUT = 60.0
"""Seconds; an election of one takes well below one, on a busy machine some."""


class Mongod(Server):
    """The database of one data directory."""

    name = "mongod"
    grace = 30.0

    def __init__(
        self,
        binary: Path,
        data_dir: Path,
        *,
        ports: Ports,
        secrets: Credentials,
        environ: Mapping[str, str],
        bootstrap: Bootstrap,
        pass_fds: Sequence[int] = (),
    ) -> None:
        super().__init__(data_dir, ports.mongod, environ, pass_fds)
        self._binary = binary
        self._host = ports.mongodb_host
        self._secrets = secrets
        self._bootstrap = bootstrap

    def _prepare(self) -> list[str | Path]:
        return [
            self._binary,
            *("--replSet", REPLICA_SET),
            *("--keyFile", self._key_file()),
            *("--dbpath", make_directory(self.data_dir / "mongod")),
            *("--bind_ip", HOST),
            *("--port", str(self.port)),
            *("--wiredTigerCacheSizeGB", "0.25"),
            # Megabytes; the default is a twentieth of the disk, for members that lag. Here there are none.
            *("--oplogSize", "256"),
            # Without it a socket in /tmp stays behind after a crash.
            "--nounixsocket",
            "--quiet",
            # Milliseconds. Of a slow update it would write the whole document into its log, the original text included.
            *("--slowms", "2147483647"),
            # Seconds; nothing reads old snapshots. With the default of 300 a busy database writes back pages each
            # second, and all writes wait for 30 ms (measured, 2 cores).
            *("--setParameter", "minSnapshotHistoryWindowInSeconds=0"),
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
            # Milliseconds; a primary asked to stop waits 15 s for another member to take over. Here there is none.
            *("--setParameter", "shutdownTimeoutMillisForSignaledShutdown=100"),
        ]

    async def _wait_ready(self, process: ChildProcess) -> None:
        await process.wait_ready(accepts_connections(self.port), READY_TIMEOUT)
        await process.while_running(self._run_bootstrap(), BOOTSTRAP_TIMEOUT)

    async def _run_bootstrap(self) -> None:
        await self._bootstrap(self._host, self._secrets)

    def _key_file(self) -> Path:
        path = self.data_dir / "mongod.key"
        if not read_private(path):
            write_private(path, base64.b64encode(secrets.token_bytes(96)))
        return path
