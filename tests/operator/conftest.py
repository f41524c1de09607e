"""A real API server for these tests, where there is one to be had; what could not be tested is said at the end."""

from collections.abc import AsyncIterator

import pytest
import yaml

from support.cluster import (
    CRD,
    Cluster,
    find_binaries,
    keda_crd,
    running_cluster,
)
from support.operating import Rig, rig
from support.untested import report, skip

NO_SERVER = "a real API server needs, and there are not,"
PARTS = "kube-apiserver, etcd, kube-controller-manager, kubectl and keda.yaml in KUBEBUILDER_ASSETS, on PATH or cached"


@pytest.fixture(scope="session")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """With the Tenant's and KEDA's definitions, the operator's roles, and the workers' template."""
    async with running_cluster(tmp_path_factory.mktemp("cluster")) as made:
        scaled_objects = keda_crd()
        assert scaled_objects is not None, "keda.yaml is not in the cache: build KEDA there"
        await made.install(yaml.safe_load(CRD.read_text()), scaled_objects)
        yield made


@pytest.fixture(scope="session")
async def stage(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    """Broker, database and namespace; no operator."""
    async with rig(cluster, tmp_path_factory.mktemp("stage"), "team-a", "team-b", "team-c", "default") as made:
        yield made


@pytest.fixture(scope="session")
async def running(stage: Rig) -> AsyncIterator[Rig]:
    """The same with an operator at work."""
    async with stage.operating() as part:
        stage.part = part
        yield stage


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--crash-every", type=int, help="crash the operator at each n-th write only (default: 5)")


@pytest.fixture(scope="session")
def step(pytestconfig: pytest.Config) -> int:
    """Nothing there: the option exists only where this folder was named on the command line."""
    return int(pytestconfig.getoption("--crash-every", default=None) or 5)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = find_binaries() is None or keda_crd() is None
    for item in items:
        if missing and {"cluster", "stage", "running"} & set(getattr(item, "fixturenames", ())):
            skip(item, NO_SERVER, PARTS)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    report(
        terminalreporter,
        NO_SERVER,
        lambda tests, parts: f"{tests} tests of the operator on a real API server did not run: no {parts}.",
        "Only the emulator's and the pure ones did. See docs/operator.md, Tests.",
    )
