"""Which seeds are run: two in a run of all tests, and whatever `--seed` names."""

import pytest

from support.schedule import read_seeds

SHORT = "2,4"
"""Seed 2 noticed whatever was broken on purpose: a 202 before the broker's acknowledgement, an acknowledgement before
the write, a write that is not yet on disk, an `Idempotency-Key` that is ignored; seed 4 noticed the second of these,
which is the hardest to see."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", help=f"seeds of the fault runs, as in 7,9 or 1-20 (default: {SHORT})")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        # Nothing there: the option exists only where this folder was named on the command line.
        text = metafunc.config.getoption("--seed", default=None) or SHORT
        try:
            seeds = read_seeds(text)
        except ValueError:
            raise pytest.UsageError(f"--seed {text}: give numbers, as in 7,9 or 1-20") from None
        metafunc.parametrize("seed", seeds, ids=lambda seed: f"seed-{seed}")
