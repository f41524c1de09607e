"""Tests of the chart run Helm where it is; what could not be tested without it is said at the end."""

from collections.abc import AsyncIterator

import pytest
import yaml

from support.chart import find_program
from support.cluster import CRD, Cluster, cache_folder, find_binaries, keda_crd, running_cluster
from support.untested import report, skip

NO_PROGRAM = "the chart's tests need, and do not find,"


@pytest.fixture(scope="session")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """A real API server with the Tenant's and KEDA's definitions."""
    async with running_cluster(tmp_path_factory.mktemp("cluster")) as made:
        scaled_objects = keda_crd()
        assert scaled_objects is not None
        await made.install(yaml.safe_load(CRD.read_text()), scaled_objects)
        yield made


def _missing(item: pytest.Item) -> str | None:
    for marker in item.iter_markers("needs"):
        for name in map(str, marker.args):
            if name == "kube-apiserver":
                if find_binaries() is None or keda_crd() is None:
                    return name
            elif name == "schemas":
                if not (cache_folder() / "schemas").exists():
                    return name
            elif find_program(name) is None:
                return name
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if (name := _missing(item)) is not None:
            skip(item, NO_PROGRAM, name)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    report(
        terminalreporter,
        NO_PROGRAM,
        lambda tests, name: f"{tests} tests of the chart did not run: no {name} on PATH or in the cache.",
        "See docs/development.md, Chart.",
    )
