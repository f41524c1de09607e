"""Running the tests side by side: `make test` does so in several processes, since most of their time is waiting.

Invariants: tests that share a running Sluice run in one process, in their usual order; a test marked `alone` runs while
no other does; and what a test measured is shown in the end whichever process it ran in.
"""

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

SHARED = ("tests/integration", "tests/cli", "tests/operator")
"""Folders whose tests share one running Sluice, but for the files named next."""
STACKS_OF_THEIR_OWN = {
    "tests/integration": (
        "test_crashed_worker.py",
        "test_embedded.py",
        "test_local_process.py",
        "test_local_servers.py",
        "test_overload.py",
        "test_parking.py",
        "test_quotas.py",
        "test_repair.py",
        "test_returning.py",
    ),
    "tests/cli": ("test_demo.py", "test_doctor.py", "test_pieces.py"),
    "tests/operator": ("test_crashes.py", "test_emulator.py", "test_reconcile.py"),
}
QUICK = "tests/unit"
"""What comes last, in small pieces, so that all processes end at nearly the same time."""
MEASURED = "measured"
_LOCKS = "sluice_locks"
_DIRECTORY = pytest.StashKey[Path]()


def place(nodeid: str) -> str:
    """What must run in one process: tests with the same place."""
    path = nodeid.partition("::")[0]
    folder, _, name = path.rpartition("/")
    return folder if folder in SHARED and name not in STACKS_OF_THEIR_OWN[folder] else path


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadScopeScheduling

    class ByPlace(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
        def _split_scope(self, nodeid: str) -> str:
            return place(nodeid)

    config.option.loadscopereorder = False  # by number of tests, while few tests take most of the time
    return ByPlace(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        # What takes longest begins first.
        items.sort(key=lambda item: (item.nodeid.startswith(QUICK), place(item.nodeid) not in SHARED))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Each process is told where the locks are."""
    node.workerinput[_LOCKS] = str(node.config.stash[_DIRECTORY])


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.stash[_DIRECTORY] = Path(tempfile.mkdtemp(prefix="sluice-tests-"))


def pytest_unconfigure(config: pytest.Config) -> None:
    if _DIRECTORY in config.stash:
        shutil.rmtree(config.stash[_DIRECTORY], ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[Any]:
    locks = getattr(item.config, "workerinput", {}).get(_LOCKS)
    with ExitStack() as stack:
        if locks is not None:
            stack.enter_context(_turn(Path(locks), alone=item.get_closest_marker("alone") is not None))
        return (yield)


@contextmanager
def _turn(locks: Path, *, alone: bool) -> Iterator[None]:
    """The room, for itself or with others. Whoever waits for it keeps the door shut, so that all get their turn."""
    with (locks / "door").open("w") as door, (locks / "room").open("w") as room:
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        yield


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [
        report for found in terminalreporter.stats.values() for report in found if getattr(report, "when", "") != ""
    ]
    lines = {
        f"{report.nodeid.rpartition('::')[2]}: {value}": None
        for report in reports
        for name, value in getattr(report, "user_properties", ())
        if name == MEASURED
    }
    if lines:
        terminalreporter.section("what was measured")
        for text in lines:
            terminalreporter.line(text)
