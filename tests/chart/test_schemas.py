"""Every manifest against the schemas of a real cluster, by kubeconform: what it would refuse or drop."""

import json
from pathlib import Path

import pytest
import yaml

from sluice_core.names import STANDARD_LANE
from sluice_core.tenant import Scaling
from sluice_operator.kube.client import Object
from sluice_operator.manifests import LaneOwner, Place, read_template, scaled_object, worker_deployment
from support.chart import CASES, find, render, render_text, run
from support.cluster import CRD, REPO, cache_folder

pytestmark = pytest.mark.needs("helm", "kubeconform", "schemas")

NO_SCHEMA = {"ServiceMonitor", "PodMonitor", "PrometheusRule", "CustomResourceDefinition"}
"""Three are the Prometheus operator's, whose definitions are not on that cluster: other tests compare them as text. The
fourth has a schema that refers to itself, which kubeconform does not take: other tests give it to a real API server."""


def conform(text: str, *more: str) -> list[Object]:
    """What kubeconform says of each document that is not valid, or was skipped."""
    schemas = cache_folder() / "schemas" / "{{.Group}}/{{.ResourceKind}}_{{.ResourceAPIVersion}}.json"
    skip = ",".join(sorted(NO_SCHEMA))
    how = ("-strict", "-verbose", "-output", "json", "-skip", skip)
    # The first location that has a kind decides, so a schema of our own goes before those of the cluster.
    done = run("kubeconform", *how, *more, "-schema-location", str(schemas), "-", stdin=text)
    said: list[Object] = json.loads(done.stdout)["resources"]
    assert said, done.stderr
    return [one for one in said if one["status"] != "statusValid"]


def wrong(text: str, *more: str) -> list[str]:
    said = [one for one in conform(text, *more) if one["kind"] not in NO_SCHEMA]
    return [f"{one['kind']} {one['name']}: {one['msg']}" for one in said]


@pytest.mark.parametrize("case", CASES)
def test_what_the_chart_renders_is_what_the_cluster_knows(case: str) -> None:
    text = render_text(*CASES[case])
    assert wrong(text) == []
    skipped = {one["kind"] for one in conform(text)}
    assert skipped == {one["kind"] for one in render(*CASES[case])} & NO_SCHEMA


def test_what_the_operator_makes_of_it_is_what_the_cluster_and_keda_know() -> None:
    config_map = find(render(), "ConfigMap", "sluice-worker-template")
    config_map["metadata"]["uid"] = "1"
    template = read_template(config_map)
    place = Place(
        namespace="sluice-system", monitoring="nats:8222", account="$G", polling_seconds=5, cooldown_seconds=60
    )
    owner = LaneOwner("acme", "2")
    made = [
        maker
        for lane in (STANDARD_LANE, "t-acme")
        for maker in (
            worker_deployment(lane, owner, template, place),
            scaled_object(lane, owner, Scaling(), template, place),
        )
    ]
    assert wrong(yaml.safe_dump_all(made)) == []


@pytest.mark.parametrize("folder", ["dev", "dev-localhost"])
def test_the_development_servers_are_what_the_cluster_knows(folder: str) -> None:
    rendered = run("kubectl", "kustomize", str(REPO / "k8s" / folder))
    assert rendered.returncode == 0, rendered.stderr
    assert wrong(rendered.stdout) == []
    if folder == "dev-localhost":
        images = {line.split(": ", 1)[1] for line in rendered.stdout.splitlines() if " image: " in line}
        assert images
        assert all(image.startswith("localhost/") for image in images), images


@pytest.mark.parametrize("file", sorted((REPO / "k8s/samples").iterdir()), ids=lambda file: file.stem)
def test_the_samples_are_what_the_definition_knows(file: Path, tmp_path: Path) -> None:
    (version,) = yaml.safe_load(CRD.read_text())["spec"]["versions"]
    (tmp_path / "tenant.json").write_text(json.dumps(closed(version["schema"]["openAPIV3Schema"])))
    schemas = ("-schema-location", str(tmp_path / "{{.ResourceKind}}.json"))
    text = file.read_text()
    assert wrong(text, *schemas) == []
    misspelt = text.replace("spec:\n", "spec:\n  retentoin: {days: 1}\n", 1)
    assert "retentoin" in str(wrong(misspelt, *schemas))


def closed(schema: Object) -> Object:
    """The same schema, refusing what it does not name; metadata is the cluster's business."""
    made = {
        name: closed(value) if isinstance(value, dict) and name != "metadata" else value
        for name, value in schema.items()
    }
    if isinstance(made.get("properties"), dict) and "type" in made:
        made.setdefault("additionalProperties", False)
    return made


def test_a_field_that_does_not_exist_is_found() -> None:
    text = render_text("--set", "crds.enabled=false").replace("\n  replicas: 2\n", "\n  replicaz: 2\n")
    assert "replicaz" in str(wrong(text))
