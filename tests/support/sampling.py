"""What processes hold while they run: memory, open files, connections (Linux).

Invariant: a process that is not there gives no sample, so nothing is made up.
"""

import asyncio
from collections import defaultdict
from pathlib import Path

import httpx
import msgspec

from sluice_core.errors import SluiceError
from sluice_core.limits import MIB
from support.sluice import Sluice
from support.steadiness import Sample


class Process(msgspec.Struct):
    """All samples of one process, from its start to its end."""

    name: str
    pid: int
    memory: list[Sample] = []
    """Resident, in MiB, without what a worker says is in flight: that depends on how far behind it is."""
    files: list[Sample] = []
    """Open descriptors, connections among them."""


class Samples:
    """Everything that was sampled in a run."""

    def __init__(self) -> None:
        self.processes: dict[tuple[str, int], Process] = {}
        self.connections: dict[str, list[Sample]] = defaultdict(list)
        """Open ones at the broker and at the database."""
        self.latencies: dict[str, list[Sample]] = defaultdict(list)
        """Of one request, in milliseconds, by which ingest answered it with 202."""

    async def take(self, sluice: Sluice, at: float) -> None:
        """Sample all processes and both servers' connections."""
        for name, server in sluice.servers.items():
            if server.running:
                pid = server.process.pid
                if (in_flight := await _in_flight(sluice, name)) is not None:
                    self._process(name, pid, at, in_flight)
        try:
            url = f"http://127.0.0.1:{sluice.stack.servers.ports.nats_monitor}/varz"
            broker = (await sluice.http.get(url, timeout=2)).json()["connections"]
            self.connections["nats-server"].append((at, float(broker)))
        except Exception:  # noqa: BLE001, S110 - it was just killed, or stands still: no sample
            pass
        try:
            status = await sluice.stack.rights.client.admin.command("serverStatus", maxTimeMS=2000)
            self.connections["mongod"].append((at, float(status["connections"]["current"])))
        except Exception:  # noqa: BLE001, S110 - as above
            pass

    def _process(self, name: str, pid: int, at: float, in_flight: float) -> None:
        try:
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            files = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
        except (OSError, IndexError, SluiceError):
            return
        process = self.processes.setdefault((name, pid), Process(name, pid))
        process.memory.append((at, (pages * 4096 - in_flight) / MIB))
        process.files.append((at, float(files)))


async def _in_flight(sluice: Sluice, name: str) -> float | None:
    """Bytes that a worker holds by its own count, 0 for anything else; None when it does not say."""
    if not name.startswith("worker-"):
        return 0.0
    try:
        async with asyncio.timeout(1):
            return await sluice.metric(name, "sluice_worker_in_flight_bytes")
    except (httpx.TransportError, TimeoutError):
        return None
