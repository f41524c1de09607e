"""How long, and with which seed."""

import random

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--minutes", type=float, default=10.0, help="how long the soak lasts (10)")
    parser.addoption("--soak-seed", type=int, help="seed of the soak's load and faults (drawn, and printed)")


@pytest.fixture
def minutes(request: pytest.FixtureRequest) -> float:
    return float(request.config.getoption("--minutes"))


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    given = request.config.getoption("--soak-seed")
    return random.randrange(1_000_000) if given is None else int(given)  # noqa: S311 - no secret
