"""The embedded broker: nats-server with JetStream on loopback.

Invariants: it flushes to disk before it acknowledges (`sync_interval: always`; with the default, an acknowledged
message is lost on power failure), and its users may do exactly what the chart's users may.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from sluice_core import names
from sluice_local import credentials
from sluice_local.credentials import Credentials
from sluice_local.files import make_directory, write_private
from sluice_local.ports import HOST, Ports, require_free
from sluice_local.probes import answers_ok
from sluice_local.process import ChildProcess
from sluice_local.server import Server

MAX_PAYLOAD = 2 * 1024 * 1024
"""Bytes; an envelope is at most 256 KiB and dead letters somewhat more, so 2 MiB leaves room without waste."""

MAX_FILE = 8 * 1024**3
"""Bytes all streams together may hold, unless the caller says otherwise.

Each reserves its largest size: the standard lane 1 GiB, what is set aside 2 GiB, the bucket of tenants 0.25 GiB. So
4.75 GiB are left for dedicated lanes.
"""

MAX_MEMORY = 64 * 1024 * 1024
"""Bytes of memory streams. Sluice makes none; the default would be three quarters of the machine."""

READY_TIMEOUT = 60.0
"""Seconds; the server reads its streams back first, 2 s for 2000 of them, more on a slow disk."""

_READ_TENANTS = f"$JS.API.DIRECT.GET.{names.TENANTS_STREAM}"
_SEE_TENANTS = f"$KV.{names.TENANTS_BUCKET}.>"

PERMISSIONS: Mapping[str, object] = {
    credentials.INGEST_USER: {
        "publish": [
            "logs.>",
            # Buffered records; and parked ones on their way back: read, put into the lane, taken away, counted.
            "parked.>",
            f"$JS.API.DIRECT.GET.{names.DLQ_STREAM}",
            f"$JS.API.STREAM.MSG.DELETE.{names.DLQ_STREAM}",
            f"$JS.API.STREAM.INFO.{names.DLQ_STREAM}",
            "sluice.hb.ingest.>",
            names.PROVISION_SUBJECT,
            _READ_TENANTS,
        ],
        "subscribe": ["_INBOX_ingest.>", _SEE_TENANTS, "sluice.hb.>"],
    },
    credentials.WORKER_USER: {
        # Lanes are made at run time, so their names are wildcards here: a worker can reach any lane.
        "publish": [
            f"$JS.API.CONSUMER.MSG.NEXT.*.{names.WORKERS}",
            f"$JS.ACK.*.{names.WORKERS}.>",
            "dlq.>",
            "parked.>",
            "sluice.hb.worker.>",
            _READ_TENANTS,
        ],
        "subscribe": ["_INBOX_worker.>", _SEE_TENANTS],
    },
    credentials.OPERATOR_USER: {
        "publish": {"allow": [">"], "deny": ["$SYS.>"]},
        "subscribe": {"allow": [">"], "deny": ["$SYS.>"]},
    },
}
"""Per user, in the form of the server's configuration. Clients pin their inbox prefix to `_INBOX_<user>`."""


def render_config(*, ports: Ports, store_dir: Path, passwords: Mapping[str, str], max_file: int = MAX_FILE) -> str:
    """The server's configuration file, which contains the passwords in clear.

    `passwords` has one for every user in `PERMISSIONS`; `max_file` is in bytes.
    """
    config = {
        "server_name": "sluice",
        "host": HOST,
        "port": ports.nats,
        "http": f"{HOST}:{ports.nats_monitor}",
        "max_payload": MAX_PAYLOAD,
        "jetstream": {
            "store_dir": str(store_dir),
            "max_file_store": max_file,
            "max_memory_store": MAX_MEMORY,
            "sync_interval": "always",
        },
        "authorization": {
            "users": [
                {"user": user, "password": passwords[user], "permissions": permissions}
                for user, permissions in PERMISSIONS.items()
            ]
        },
    }
    return msgspec.json.format(msgspec.json.encode(config)).decode()


class NatsServer(Server):
    """The broker of one data directory."""

    name = "nats-server"
    grace = 60.0  # 2000 streams took 21 s

    def __init__(
        self,
        binary: Path,
        data_dir: Path,
        *,
        ports: Ports,
        secrets: Credentials,
        environ: Mapping[str, str],
        max_file: int = MAX_FILE,
        pass_fds: Sequence[int] = (),
    ) -> None:
        super().__init__(data_dir, ports.nats, environ, pass_fds)
        self._binary = binary
        self._ports = ports
        self._secrets = secrets
        self._max_file = max_file

    def _prepare(self) -> list[str | Path]:
        require_free(self._ports.nats_monitor, f"{self.name}'s monitoring")
        config = self.data_dir / "nats.conf"
        text = render_config(
            ports=self._ports,
            store_dir=make_directory(self.data_dir / "nats"),
            passwords={
                credentials.INGEST_USER: self._secrets.nats_ingest,
                credentials.WORKER_USER: self._secrets.nats_worker,
                credentials.OPERATOR_USER: self._secrets.nats_operator,
            },
            max_file=self._max_file,
        )
        write_private(config, text.encode())
        return [self._binary, "-c", config]

    async def _wait_ready(self, process: ChildProcess) -> None:
        await process.wait_ready(answers_ok(self._ports.nats_monitor, "/healthz"), READY_TIMEOUT)
