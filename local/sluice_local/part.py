"""Sluice's own processes in the stack: what a pod runs, started the way a pod starts it.

Invariant: a part gets everything through its environment, and nothing that its pod on a cluster would not have.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

from sluice_core.names import WORKER_USER as MONGODB_WORKER_USER
from sluice_local.credentials import INGEST_USER, WORKER_USER, Credentials
from sluice_local.files import make_directory
from sluice_local.mongod import REPLICA_SET
from sluice_local.ports import HOST, Ports
from sluice_local.probes import answers_ok
from sluice_local.process import ChildProcess
from sluice_local.server import Server

READY_SECONDS = 30.0


class Part(Server):
    """One `python -m sluice_<module>`."""

    grace = 20.0

    def __init__(self, name: str, module: str, data_dir: Path, port: int, environ: Mapping[str, str]) -> None:
        super().__init__(data_dir, port, environ)
        self.name = name
        self._module = module

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{HOST}:{self.port}"

    def _prepare(self) -> list[str | Path]:
        return [sys.executable, "-m", self._module]

    async def _wait_ready(self, process: ChildProcess) -> None:
        await process.wait_ready(answers_ok(self.port, "/readiness"), READY_SECONDS)


def ingest_part(
    data_dir: Path,
    port: int,
    environ: Mapping[str, str],
    credentials: Credentials,
    ports: Ports,
    *,
    auth: str,
    name: str = "ingest",
) -> Part:
    """One process of the ingest service. Settings in `environ` hold where the stack does not decide them."""
    own = {
        "SLUICE_NATS_URL": ports.nats_url,
        "SLUICE_NATS_USER": INGEST_USER,
        "SLUICE_NATS_PASSWORD": credentials.nats_ingest,
        "SLUICE_HOST": HOST,
        "SLUICE_PORT": str(port),
        "SLUICE_AUTH": auth,
    }
    return Part(name, "sluice_ingest", data_dir, port, {**environ, **own})


def worker_part(
    data_dir: Path, port: int, environ: Mapping[str, str], credentials: Credentials, ports: Ports, *, lane: str
) -> Part:
    """A worker of one lane. Settings in `environ` hold where the stack does not decide them."""
    own = {
        "SLUICE_NATS_URL": ports.nats_url,
        "SLUICE_NATS_USER": WORKER_USER,
        "SLUICE_NATS_PASSWORD": credentials.nats_worker,
        "SLUICE_MONGODB_URI": (
            f"mongodb://{MONGODB_WORKER_USER}:{credentials.mongodb_worker}@{ports.mongodb_host}/"
            f"?authSource=admin&replicaSet={REPLICA_SET}"
        ),
        "SLUICE_MASTER_SECRET": credentials.worker_master_secret,
        "SLUICE_LANE": lane,
        "SLUICE_STATE_DIR": str(make_directory(data_dir / "state" / f"worker-{lane}")),
        "SLUICE_HOST": HOST,
        "SLUICE_PORT": str(port),
    }
    return Part(f"worker-{lane}", "sluice_worker", data_dir, port, {**environ, **own})
