"""How large the processes became."""

from collections.abc import Mapping
from pathlib import Path

from bench.figures import Collected, Figure


def peaks(pids: Mapping[str, int]) -> list[Figure]:
    """Largest resident size of each process so far (Linux)."""
    found = Collected("memory")
    for name, pid in pids.items():
        status = Path(f"/proc/{pid}/status")
        if status.exists():
            peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
            found.add(f"peak memory of {name}", int(peak.split()[1]) / 1024, "MiB")
    return found.figures()
