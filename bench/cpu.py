"""Processor time of processes: what a request costs, whatever else the machine does meanwhile (Linux).

Invariant: a process that is not there costs nothing, so a figure is never made up.
"""

import os
from collections.abc import Mapping
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_UTIME, _STIME = 11, 12
"""Of the fields behind the name, which may hold spaces (proc(5), `/proc/pid/stat`)."""


def spent(pids: Mapping[str, int]) -> dict[str, float]:
    """Seconds of processor time of each process until now."""
    return {name: _seconds(pid) for name, pid in pids.items()}


def since(before: Mapping[str, float], pids: Mapping[str, int]) -> dict[str, float]:
    """Seconds that each has used since `before`."""
    return {name: seconds - before.get(name, 0.0) for name, seconds in spent(pids).items()}


def _seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[_UTIME]) + int(fields[_STIME])) / _TICKS
