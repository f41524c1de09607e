"""Tests of the chart run Helm where it is; what could not be tested without it is said at the end."""

import re
from collections import Counter
from collections.abc import AsyncIterator

import pytest
import yaml

from support.chart import find_program
from support.cluster import CRD, Cluster, cache_folder, find_binaries, keda_crd, running_cluster

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
            item.add_marker(pytest.mark.skip(reason=f"{NO_PROGRAM} {name}"))


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    # From the reports, which also come from other processes.
    reasons = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", ())]
    untested = Counter(found[1] for reason in reasons if (found := re.search(rf"{NO_PROGRAM} ([\w-]+)", reason)))
    if untested:
        terminalreporter.section("NOT TESTED", red=True)
        for name, tests in untested.items():
            terminalreporter.line(f"{tests} tests of the chart did not run: no {name} on PATH or in the cache.")
        terminalreporter.line("See docs/development.md, Chart.")
