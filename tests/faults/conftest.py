"""Which seeds are run, what is left to `make faults`, and what could not be tested for want of rights.

Two seeds in a run of all tests, and whatever `--seed` names; tests marked `long` only with `--long`.
"""

from collections.abc import Callable

import pytest

from support.disks import why_no_disks
from support.schedule import read_seeds
from support.untested import report, skip

SHORT = "2,4"
"""Seed 2 noticed whatever was broken on purpose: a 202 before the broker's acknowledgement, an acknowledgement before
the write, a write that is not yet on disk, an `Idempotency-Key` that is ignored; seed 4 adds a second look for the
second of these, which nine of the first ten seeds notice."""
NO_DISKS = "a disk of its own needs root and loop devices:"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", help=f"seeds of the fault runs, as in 7,9 or 1-20 (default: {SHORT})")
    parser.addoption("--long", action="store_true", help="run the tests marked `long`, too")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        # Nothing there: the option exists only where this folder was named on the command line.
        text = metafunc.config.getoption("--seed", default=None) or SHORT
        try:
            seeds = read_seeds(text)
        except ValueError:
            raise pytest.UsageError(f"--seed {text}: give numbers, as in 7,9 or 1-20") from None
        metafunc.parametrize("seed", seeds, ids=lambda seed: f"seed-{seed}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--long", default=False):
        left = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]
    for item in items:
        if item.get_closest_marker("own_disk") and (reason := why_no_disks()) is not None:
            skip(item, NO_DISKS, reason)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    report(
        terminalreporter,
        NO_DISKS,
        lambda tests, why: f"{tests} tests of power failures and full disks did not run: {NO_DISKS} {why}.",
        "See docs/development.md, Faults.",
    )


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Say what was seen; it is shown when all tests have run."""
    return lambda text: record_property("measured", text)
