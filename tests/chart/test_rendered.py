"""What the chart installs, looked at as text: nothing here needs a cluster."""

from collections import Counter
from typing import Any

import msgspec
import pytest
import yaml

from sluice_core.names import WORKER_USER
from sluice_ingest.settings import IngestSettings
from sluice_operator.kube.client import Object
from sluice_operator.manifests import LaneOwner, Place, read_template, worker_deployment
from sluice_operator.settings import OperatorSettings
from sluice_worker.settings import WorkerSettings
from support.chart import CASES, CHART, containers, env, find, pods, render, render_text, run, worker_pod
from support.cluster import RULES

pytestmark = pytest.mark.needs("helm")

SNAPSHOT = CHART.parents[1] / "tests/chart/snapshots/defaults.yaml"
PARTS: dict[str, Any] = {"ingest": IngestSettings, "worker": WorkerSettings, "operator": OperatorSettings}


def part_pod(part: str, *arguments: str) -> Object:
    objects = render(*arguments)
    if part == "worker":
        template = worker_pod(objects)
    else:
        template = find(objects, "Deployment", f"sluice-{part}")["spec"]["template"]
    spec: Object = template["spec"]
    return spec


def test_the_defaults_render_as_they_did() -> None:
    """`helm template sluice charts/sluice -n sluice-system --set crds.enabled=false` writes a new one."""
    assert render_text("--set", "crds.enabled=false") == SNAPSHOT.read_text()


@pytest.mark.parametrize("case", CASES)
def test_no_object_is_rendered_twice(case: str) -> None:
    names = Counter(
        (one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]) for one in render(*CASES[case])
    )
    assert [name for name, times in names.items() if times > 1] == []


@pytest.mark.parametrize("part", PARTS)
def test_every_setting_of_a_part_can_be_set_and_none_that_it_does_not_have(part: str) -> None:
    known = {f"SLUICE_{name.upper()}" for name in PARTS[part].__struct_fields__}
    # Where it listens and that it wants keys is not to be changed; a worker's lane is the operator's to set.
    fixed = {"SLUICE_HOST", "SLUICE_PORT", "SLUICE_AUTH", "SLUICE_LANE"} & known
    given = {name for name in env(part_pod(part)) if name.startswith("SLUICE_")}
    assert given == known - fixed


@pytest.mark.parametrize("part", PARTS)
def test_a_setting_that_nobody_changed_is_the_default_of_the_code(part: str) -> None:
    defaults = {f.name: f.default for f in msgspec.structs.fields(PARTS[part])}
    values = yaml.safe_load((CHART / "values.yaml").read_text())[part]["settings"]
    rendered = env(part_pod(part))
    for key, value in values.items():
        snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in key)
        assert value == defaults[snake], key
        text = rendered[f"SLUICE_{snake.upper()}"]["value"]
        assert text == value or float(text) == value, key


def test_large_numbers_are_written_out() -> None:
    assert env(part_pod("operator"))["SLUICE_LANE_MAX_BYTES"]["value"] == "8589934592"
    changed = part_pod("operator", "--set", "operator.settings.maxBytesPerSecond=123456789012")
    assert env(changed)["SLUICE_MAX_BYTES_PER_SECOND"]["value"] == "123456789012"


@pytest.mark.parametrize("case", CASES)
def test_the_operator_reads_the_workers_template_and_makes_a_lane_of_it(case: str) -> None:
    config_map = find(render(*CASES[case]), "ConfigMap", "sluice-worker-template")
    config_map["metadata"]["uid"] = "u"
    template = read_template(config_map)
    place = Place(namespace="n", monitoring="m:1", account="$G", polling_seconds=5, cooldown_seconds=60)
    deployment = worker_deployment("standard", LaneOwner(), template, place)
    pod = deployment["spec"]["template"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    (lane,) = [one for one in pod["spec"]["containers"][0]["env"] if one["name"] == "SLUICE_LANE"]
    assert lane["value"] == "standard"
    # What NetworkPolicies and monitors select workers by.
    assert pod["metadata"]["labels"]["app.kubernetes.io/instance"] == "sluice"


def test_the_operator_is_told_the_templates_name_whatever_the_release_is_called() -> None:
    objects = render("--set", "fullnameOverride=logs")
    names = {one["metadata"]["name"] for one in objects if one["kind"] == "ConfigMap"}
    pod = find(objects, "Deployment", "logs-operator")["spec"]["template"]["spec"]
    assert env(pod)["SLUICE_WORKER_TEMPLATE"]["value"] in names


def test_ingest_has_no_credentials_of_the_database_and_no_service_account() -> None:
    for case in CASES.values():
        pod = part_pod("ingest", *case)
        assert pod["automountServiceAccountToken"] is False
        assert "serviceAccountName" not in pod
        assert "mongo" not in yaml.safe_dump(pod).lower()
        assert [volume for volume in pod["volumes"] if "secret" in volume or "projected" in volume] == []


def test_only_the_operator_and_what_asks_the_api_server_has_a_service_account() -> None:
    for name, pod in pods(render(*CASES["guarded"])):
        mounted = pod["automountServiceAccountToken"]
        assert mounted == (name.rpartition("-")[2] in {"operator", "guard", "test"}), name


def test_workers_and_operator_are_different_users_of_the_database() -> None:
    worker, operator = env(part_pod("worker")), env(part_pod("operator"))
    assert worker["SLUICE_MONGODB_URI"]["value"].startswith(f"mongodb://{WORKER_USER}:$(MONGODB_PASSWORD)@")
    assert operator["SLUICE_MONGODB_URI"]["value"].startswith("mongodb://sluice_operator:$(MONGODB_PASSWORD)@")
    key = "valueFrom"
    assert worker["MONGODB_PASSWORD"][key] == operator["SLUICE_MONGODB_WORKER_PASSWORD"][key]
    assert worker["MONGODB_PASSWORD"][key] != operator["MONGODB_PASSWORD"][key]


@pytest.mark.parametrize("part", ["worker", "operator"])
def test_a_password_stands_before_the_address_that_it_is_put_into(part: str) -> None:
    """The kubelet expands only what is defined earlier in the list."""
    names = list(env(part_pod(part)))
    assert names.index("MONGODB_PASSWORD") < names.index("SLUICE_MONGODB_URI")


def test_no_pod_gets_secrets_of_another_part() -> None:
    allowed = {
        "ingest": {("sluice-nats", "ingest")},
        "worker": {("sluice-nats", "worker"), ("sluice-mongodb", "worker"), ("sluice-worker", "master-secret")},
        "operator": {("sluice-nats", "operator"), ("sluice-mongodb", "operator"), ("sluice-mongodb", "worker")},
    }
    for part, expected in allowed.items():
        references = [
            one["valueFrom"]["secretKeyRef"]
            for one in env(part_pod(part)).values()
            if "valueFrom" in one and "secretKeyRef" in one["valueFrom"]
        ]
        assert {(one["name"], one["key"]) for one in references} == expected


def test_a_stopping_pod_has_time_for_all_that_it_does() -> None:
    ingest = part_pod("ingest")
    pause = ingest["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert (
        ingest["terminationGracePeriodSeconds"] > pause + IngestSettings(nats_url="", nats_password="").shutdown_timeout
    )
    assert "lifecycle" not in part_pod("ingest", "--set", "ingest.preStopSeconds=0")["containers"][0]


def test_liveness_never_asks_for_broker_or_database() -> None:
    for part in PARTS:
        container = part_pod(part)["containers"][0]
        assert container["livenessProbe"]["httpGet"]["path"] == "/health"
        assert container["startupProbe"]["httpGet"]["path"] == "/health"


def test_every_container_says_what_it_needs() -> None:
    for case in CASES.values():
        for name, pod in pods(render(*case)):
            for container in containers(pod):
                resources = container["resources"]
                assert resources["requests"].keys() == {"cpu", "memory"}, name
                assert "memory" in resources["limits"], name


def test_the_autoscaler_decides_the_number_when_it_is_there() -> None:
    def deployment(*arguments: str) -> Object:
        spec: Object = find(render(*arguments), "Deployment", "sluice-ingest")["spec"]
        return spec

    assert deployment()["replicas"] == 2
    assert "replicas" not in deployment("--set", "ingest.hpa.enabled=true")


def test_tenants_are_told_where_to_send() -> None:
    def url(*arguments: str) -> str:
        return str(env(part_pod("operator", *arguments))["SLUICE_INGEST_URL"]["value"])

    assert url() == "http://sluice-ingest.sluice-system.svc.cluster.local"
    assert url("--set", "ingest.service.port=8080") == "http://sluice-ingest.sluice-system.svc.cluster.local:8080"
    hosts = ("--set", "ingest.ingress.enabled=true", "--set", "ingest.ingress.hosts={logs.test}")
    assert url(*hosts) == "http://logs.test"
    assert url(*hosts, "--set", "ingest.ingress.tls[0].secretName=t") == "https://logs.test"
    assert url(*hosts, "--set", "operator.ingestUrl=https://other.test") == "https://other.test"


def test_the_ingress_takes_lines_and_shows_nothing_else() -> None:
    rules = find(render(*CASES["prod"]), "Ingress", "sluice-ingest")["spec"]["rules"]
    paths = [(path["path"], path["pathType"]) for rule in rules for path in rule["http"]["paths"]]
    assert paths == [("/ingest", "Exact"), ("/v1/ingest", "Exact")]


def test_the_operators_roles_are_the_rules_that_it_was_tested_with() -> None:
    rules = yaml.safe_load(RULES.read_text())
    objects = render()
    wide = "sluice-system-sluice-operator"
    assert find(objects, "ClusterRole", wide)["rules"] == rules["cluster"]
    assert find(objects, "Role", "sluice-operator")["rules"] == rules["release"]
    for kind, name in (("ClusterRoleBinding", wide), ("RoleBinding", "sluice-operator")):
        binding = find(objects, kind, name)
        assert binding["roleRef"]["name"] == name
        assert binding["subjects"] == [
            {"kind": "ServiceAccount", "name": "sluice-operator", "namespace": "sluice-system"}
        ]


def test_with_watched_namespaces_only_what_has_none_is_granted_everywhere() -> None:
    rules = yaml.safe_load(RULES.read_text())["cluster"]
    objects = render(*CASES["namespaced"])
    wide = find(objects, "ClusterRole", "sluice-system-sluice-operator")["rules"]
    assert {resource for rule in wide for resource in rule["resources"]} == {"namespaces", "customresourcedefinitions"}
    for namespace in ("team-a", "team-b"):
        (role,) = [one for one in objects if one["kind"] == "Role" and one["metadata"].get("namespace") == namespace]
        assert [*role["rules"], *wide] == rules


def test_application_teams_get_roles_that_reach_tenants_only_and_are_not_handed_out_by_themselves() -> None:
    for arguments, aggregated in (((), False), (("--set", "tenantRoles.aggregate=true"), True)):
        objects = render(*arguments)
        for name in ("edit", "view"):
            role = find(objects, "ClusterRole", f"sluice-tenant-{name}")
            assert [(rule["apiGroups"], rule["resources"]) for rule in role["rules"]] == [(["sluice.dev"], ["tenants"])]
            label = f"rbac.authorization.k8s.io/aggregate-to-{name}"
            assert (label in role["metadata"]["labels"]) == aggregated


def test_the_definition_is_ours_and_stays_unless_told_otherwise() -> None:
    canonical = yaml.safe_load((CHART / "files/crds/tenants.yaml").read_text())
    crd = find(render(), "CustomResourceDefinition", "tenants.sluice.dev")
    assert crd["spec"] == canonical["spec"]
    assert crd["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    unkept = find(render(*CASES["guarded"]), "CustomResourceDefinition", "tenants.sluice.dev")
    assert "annotations" not in unkept["metadata"]
    none = render("--set", "crds.enabled=false")
    assert [one for one in none if one["kind"] == "CustomResourceDefinition"] == []


def test_uninstalling_asks_first_only_where_it_would_take_tenants_along() -> None:
    hooks = [
        one["kind"]
        for one in render(*CASES["guarded"])
        if one["metadata"].get("annotations", {}).get("helm.sh/hook") == "pre-delete"
    ]
    assert sorted(hooks) == ["ClusterRole", "ClusterRoleBinding", "Job", "ServiceAccount"]
    assert not any("pre-delete" in yaml.safe_dump(one) for one in render())


def test_the_notes_teach_the_next_commands_and_print_no_secret() -> None:
    done = run("helm", "install", "sluice", str(CHART), "--namespace", "sluice-system", "--dry-run=client")
    notes = done.stdout.partition("NOTES:")[2]
    assert done.returncode == 0, done.stderr
    for words in (
        "kubectl apply",
        "kubectl port-forward",
        "curl -sS http://127.0.0.1:8080/ingest",
        "kubectl get tenants",
    ):
        assert words in notes
