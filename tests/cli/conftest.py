"""Stacks for the tests of the command line: temporary data directories, free ports, every process stopped."""

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from cli.commands import TENANT, Stack, Started

TENANTS = {
    "demo": "{}",
    "send-twice": "{}",
    "send-resume": "{}",
    "send-crash": "{}",
    "send-refused": "{limits: {maxRecordBytes: 100, maxBatchBytes: 2000}}",
    "send-stream": "{}",
    "send-other": "{}",
    "send-env": "{}",
    "keyed": "{}",
    "buried": "{}",
    "replayed": "{}",
    "reborn": "{}",
    "chosen": "{}",
    "purged": "{}",
    "read": "{}",
}
"""Tenants of the shared stack with their specs: each test has its own, so that none sees another's lines."""


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for all tests that do not stop it; each works with tenants of its own."""
    directory = tmp_path_factory.mktemp("shared")
    file = directory / "tenants.yaml"
    file.write_text("---\n".join(TENANT.format(name=name, spec=spec) for name, spec in TENANTS.items()))
    running = Stack(directory, "-f", file)
    try:
        yield running
    finally:
        running.end()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Started]]:
    """Start a command in the background; it is stopped when the test ends."""
    started: list[Started] = []

    def begin(*arguments: object) -> Started:
        started.append(Started(*arguments, cwd=tmp_path))
        return started[-1]

    yield begin
    for command in started:
        with suppress(subprocess.TimeoutExpired):
            command.end(signal.SIGTERM)


@pytest.fixture
def own_stack(tmp_path: Path) -> Iterator[Callable[..., Stack]]:
    """Make a stack of the test's own on its temporary directory; it is stopped when the test ends."""
    stacks: list[Stack] = []

    def make(*arguments: object) -> Stack:
        stacks.append(Stack(tmp_path, *arguments))
        return stacks[-1]

    yield make
    for made in stacks:
        made.end()
