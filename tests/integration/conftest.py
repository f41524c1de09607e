"""One running Sluice for all integration tests of a session, and a tenant of its own for each test.

A second, deliberately slow one starts beside it when a test needs it, and takes its time while the other tests run.
"""

import re
from collections.abc import AsyncIterator

import pytest

from support.held import SlowLane, slow_lane
from support.ledger import Ledger
from support.sluice import Account, Sluice, running

FIRST = "test_restarts"
"""A killed database recovers the sooner, the fewer tenants have been made."""
LAST = ("test_held_records", "test_secrecy")
"""These judge what happened meanwhile: the longer ago they began, the less they have to wait."""

IDLE_LANES = [
    f"t-idle-{purpose}" for purpose in ("full", "again", "older", "together", "late", "floor", "backlog", "moved")
]
"""Lanes of tenants with these ids get no worker until their test starts one."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        if FIRST in item.nodeid:
            return -1
        return next((1 + place for place, name in enumerate(LAST) if name in item.nodeid), 0)

    items.sort(key=rank)


@pytest.fixture(scope="session")
async def sluice(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sluice]:
    async with running(tmp_path_factory.mktemp("sluice"), lanes_without_worker=IDLE_LANES) as stack:
        yield stack


@pytest.fixture(scope="session")
async def slow(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SlowLane]:
    async with slow_lane(tmp_path_factory.mktemp("slow")) as lane:
        yield lane


@pytest.fixture(autouse=True)
def _slow_things_begin_early(request: pytest.FixtureRequest) -> None:
    """With the first test that uses the other stack: they are together, in whichever process."""
    if "sluice" in request.fixturenames and any(
        "slow" in getattr(item, "fixturenames", ()) for item in request.session.items
    ):
        request.getfixturevalue("slow")


@pytest.fixture
async def tenant(sluice: Sluice, request: pytest.FixtureRequest) -> Account:
    return await sluice.tenant(_stem(request))


@pytest.fixture
async def other(sluice: Sluice, request: pytest.FixtureRequest) -> Account:
    return await sluice.tenant("other-" + _stem(request))


@pytest.fixture
def ledger(sluice: Sluice) -> Ledger:
    return Ledger(sluice)


def _stem(request: pytest.FixtureRequest) -> str:
    return re.sub(r"\[.*", "", request.node.name).removeprefix("test_").replace("_", "-")[:20]
