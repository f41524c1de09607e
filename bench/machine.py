"""The machine and the versions a run was made with, in general terms.

Invariant: nothing in here tells one machine from another of its kind: no names, no paths, no addresses.
"""

import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from statistics import median

from sluice_local import binaries

_FLUSHES = 50
_LIBRARIES = ("uvicorn", "uvloop", "litestar", "msgspec", "nats-py", "motor", "pymongo", "hyperscan")


def describe(environ: Mapping[str, str]) -> dict[str, str]:
    """What a reader needs to compare, by its name."""
    nats, mongod = (binaries.find(program, environ) for program in (binaries.NATS_SERVER, binaries.MONGOD))
    return {
        "processor": f"{os.cpu_count()} x {_processor()}",
        "memory": _memory(),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "flush of a disk write": f"{_flush_seconds() * 1000:.2f} ms (median of {_FLUSHES}, 4 KiB each)",
        "load when it began": f"{os.getloadavg()[0]:.1f}: what others did on this machine is in the figures",
        "servers": f"{_first_line(nats, '--version')}, mongod {_first_line(mongod, '--version').rpartition(' v')[2]}",
        "Python": f"{platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in _LIBRARIES),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    except (ValueError, OSError):
        return "unknown"


def _flush_seconds() -> float:
    spent = []
    with tempfile.TemporaryFile(buffering=0) as file:
        for _ in range(_FLUSHES):
            start = time.perf_counter()
            file.write(b"\0" * 4096)
            os.fsync(file.fileno())
            spent.append(time.perf_counter() - start)
    return median(spent)


def _first_line(binary: Path, *arguments: str) -> str:
    answer = subprocess.run([binary, *arguments], capture_output=True, text=True, check=True)  # noqa: S603 - our own
    return answer.stdout.splitlines()[0]
