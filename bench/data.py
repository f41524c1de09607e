"""What benchmarks send: real log lines where some are given, else lines of a few common shapes.

Invariant: the same seed gives the same lines, so two runs measure the same work.
"""

import random
from pathlib import Path

_SHAPES = [
    "{day} {time} INFO dfs.DataNode$PacketResponder: PacketResponder {n} for block blk_{big} terminating",
    "{day} {time} WARN [{n}] nova.compute.manager instance {big}-{n} took {n}.{n} seconds to spawn",
    "Dec 10 {time} LabSZ sshd[{n}]: Failed password for invalid user test from {ip} port {n} ssh2",
    "[{day} {time}] [error] [client {ip}] Directory index forbidden by rule: /var/www/html/",
    "{day} {time} - INFO  [QuorumPeer[myid=1]/0.0.0.0:2181:Follower@{n}] - Got zxid 0x{big} expected 0x1",
    "{ip} - alice@example.com [{day}] GET /orders/{n} HTTP/1.1 200 {n}",
]


def read_lines(paths: list[Path]) -> list[str]:
    """The non-empty UTF-8 lines of `*.log` files, those in folders included."""
    files = [file for path in paths for file in (sorted(path.rglob("*.log")) if path.is_dir() else [path])]
    return [line for file in files for line in file.read_text(errors="replace").splitlines() if line.strip()]


def make_lines(count: int, seed: int = 7) -> list[str]:
    """Invented lines."""
    source = random.Random(seed)  # noqa: S311 - not a secret
    return [
        source.choice(_SHAPES).format(
            day="2026-11-22",
            time=f"{source.randrange(24):02}:{source.randrange(60):02}:{source.randrange(60):02}",
            n=source.randrange(100, 30000),
            big=source.randrange(10**15, 10**18),
            ip=".".join(str(source.randrange(1, 255)) for _ in range(4)),
        )
        for _ in range(count)
    ]
