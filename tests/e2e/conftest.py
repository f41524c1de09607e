"""One cluster for all these tests: emptied, filled by the one command that everybody uses, and emptied again.

What was measured is printed at the end; what the pods said is printed with every failure.
"""

import subprocess
import time
from collections.abc import AsyncIterator, Generator

import pytest

from support.cluster import NAMESPACE
from support.site import SAMPLE, TEAMS, Member, Site

LINES: list[str] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--ingress", default="http://127.0.0.1:8880", help="where the ingress controller answers")
    parser.addoption("--keep", action="store_true", help="leave everything on the cluster at the end")


@pytest.fixture(scope="session")
async def site(pytestconfig: pytest.Config) -> AsyncIterator[Site]:
    """Sluice from an empty cluster, and two namespaces of application teams."""
    made = Site(pytestconfig.getoption("--ingress"), LINES.append)
    await made.check()
    await made.wipe()
    began = time.monotonic()
    await made.load_images("dev")
    LINES.append(f"images built and loaded in {time.monotonic() - began:.0f} s")
    seconds = await made.deploy()
    LINES.append(f"from an empty cluster to a Ready tenant in {seconds:.0f} s")
    await made.make_teams()
    yield made
    if not pytestconfig.getoption("--keep"):
        await made.wipe()


@pytest.fixture
async def sample(site: Site) -> Member:
    """The tenant of k8s/samples that the one command made."""
    namespace, name = SAMPLE
    return await site.ready(name, namespace)


@pytest.fixture(autouse=True)
def name_above(site: Site, request: pytest.FixtureRequest) -> None:
    """Puts the test's name above what it says."""
    site.say(request.node.name)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        report.sections.append(("the cluster", _state()))
    return report


def _state() -> str:
    """Pods, events and logs. Never a Secret."""
    commands = [
        ["kubectl", "get", "pods", "-A", "-o", "wide"],
        ["kubectl", "get", "tenants,scaledobjects", "-A", "-o", "wide"],
        *(["kubectl", "get", "events", "-n", one, "--sort-by=.lastTimestamp"] for one in (NAMESPACE, *TEAMS)),
        *(
            ["kubectl", "logs", "-n", NAMESPACE, "-l", f"app.kubernetes.io/component={part}", "--tail=60", "--prefix"]
            for part in ("ingest", "worker", "operator")
        ),
        ["kubectl", "logs", "-n", NAMESPACE, "nats-0", "--tail=40"],
    ]
    parts = []
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        parts.append(f"$ {' '.join(command)}\n" + "\n".join((done.stdout + done.stderr).splitlines()[-150:]))
    return "\n\n".join(parts)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.section("seen on the cluster")
    for line in LINES:
        terminalreporter.line(line)
