"""The objects that the operator makes, as values."""

import json
from base64 import b64decode
from typing import Any

import pytest
import yaml

from sluice_core.edge.secrets import TenantSecret
from sluice_core.names import STANDARD_LANE
from sluice_core.tenant import Scaling
from sluice_operator.manifests import (
    LaneOwner,
    Place,
    Template,
    TemplateError,
    erasure_receipt,
    event,
    lane_object_name,
    read_secret,
    read_template,
    scaled_object,
    tenant_secret,
    worker_deployment,
)

PLACE = Place(namespace="sluice", monitoring="nats:8222", account="$G", polling_seconds=5, cooldown_seconds=60)
OWNER = LaneOwner("acme_corp", "uid-1")
POD: dict[str, Any] = {
    "metadata": {"labels": {"app.kubernetes.io/instance": "x"}},
    "spec": {
        "containers": [
            {
                "name": "worker",
                "image": "w:1",
                "env": [{"name": "SLUICE_LANE", "value": "old"}, {"name": "A", "value": "b"}],
            },
            {"name": "sidecar", "image": "s:1"},
        ]
    },
}


def config_map(text: str | None) -> dict[str, Any]:
    meta = {"name": "sluice-worker-template", "namespace": "sluice", "uid": "template-uid"}
    return {"metadata": meta, "data": {} if text is None else {"template.yaml": text}}


TEMPLATE = read_template(config_map(yaml.safe_dump(POD)))


@pytest.mark.parametrize("text", [None, "", "a: [", "[]", "spec: {}", "spec: {containers: [{name: other}]}"])
def test_what_is_no_pod_template_is_refused_by_name(text: str | None) -> None:
    with pytest.raises(TemplateError, match="sluice-worker-template"):
        read_template(config_map(text))


def test_workers_are_the_template_with_the_lane_in_it() -> None:
    made = worker_deployment("t-acme_corp", OWNER, TEMPLATE, PLACE)
    pod = made["spec"]["template"]
    worker, sidecar = pod["spec"]["containers"]
    assert worker["env"] == [{"name": "A", "value": "b"}, {"name": "SLUICE_LANE", "value": "t-acme_corp"}]
    assert sidecar == POD["spec"]["containers"][1]
    assert made["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert pod["metadata"]["labels"]["app.kubernetes.io/instance"] == "x"
    assert made["metadata"]["labels"]["sluice.dev/tenant-uid"] == "uid-1"
    assert made["metadata"]["ownerReferences"][0]["uid"] == "template-uid"
    assert POD["spec"]["containers"][0]["env"][0]["value"] == "old", "the template was changed"


def test_no_deployment_ever_says_how_many() -> None:
    for lane in (STANDARD_LANE, "t-acme_corp"):
        assert "replicas" not in json.dumps(worker_deployment(lane, OWNER, TEMPLATE, PLACE))


def test_a_lane_scales_by_its_own_consumer_and_survives_a_broker_that_cannot_be_asked() -> None:
    made = scaled_object(
        "t-acme_corp", OWNER, Scaling(min_replicas=2, max_replicas=7, lag_threshold=9), TEMPLATE, PLACE
    )
    spec = made["spec"]
    assert made["metadata"]["name"] == spec["scaleTargetRef"]["name"] == lane_object_name("t-acme_corp")
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (2, 7)
    assert spec["fallback"] == {"failureThreshold": 3, "replicas": 2, "behavior": "currentReplicasIfHigher"}
    [trigger] = spec["triggers"]
    assert all(isinstance(value, str) for value in trigger["metadata"].values())
    assert trigger["metadata"]["stream"] == "SLUICE_LANE_t-acme_corp"
    assert trigger["metadata"]["consumer"] == "workers"
    assert trigger["metadata"]["lagThreshold"] == "9"


def test_from_no_workers_the_fallback_starts_one() -> None:
    assert scaled_object("t-a", OWNER, Scaling(), TEMPLATE, PLACE)["spec"]["fallback"]["replicas"] == 1


@pytest.mark.parametrize("tenant_id", ["a", "a" * 40, "a_b-c", "a_" * 19 + "a"])
def test_names_of_lane_objects_are_names_and_differ(tenant_id: str) -> None:
    name = lane_object_name(f"t-{tenant_id}")
    assert len(name) <= 57, "KEDA and ReplicaSets append to it"
    assert name.replace("-", "").isalnum()
    assert name == name.lower()
    assert name != lane_object_name(f"t-{tenant_id.replace('_', '-')}x")


def test_lanes_that_look_alike_have_objects_of_their_own() -> None:
    assert lane_object_name("t-a_b") != lane_object_name("t-a-b")
    assert lane_object_name(STANDARD_LANE) != lane_object_name("t-standard")


TENANT = {"metadata": {"name": "acme", "namespace": "team-a", "uid": "uid-1"}}
SECRET = TenantSecret({"default": "slk_1", "ci": "slk_2"}, "password", "mongodb://reader")


def test_a_secret_says_what_its_owner_needs_and_is_read_back() -> None:
    made = tenant_secret(TENANT, "acme", SECRET, "https://logs.example/")
    entries = {name: b64decode(value).decode() for name, value in made["data"].items()}
    assert entries["INGEST_URL"] == "https://logs.example/ingest"
    assert entries["EXAMPLE"].startswith("curl -i https://logs.example/ingest -H 'Authorization: Bearer slk_2'")
    assert made["metadata"]["name"] == "acme-sluice"
    assert made["metadata"]["ownerReferences"] == [
        {"apiVersion": "sluice.dev/v1alpha1", "kind": "Tenant", "name": "acme", "uid": "uid-1"}
    ]
    assert read_secret(made) == SECRET


def test_what_somebody_put_into_a_secret_does_not_stop_us() -> None:
    made = tenant_secret(TENANT, "acme", SECRET, "https://logs.example")
    made["data"] |= {"junk": "!!!", "binary": "//79"}
    assert read_secret(made) == SECRET
    assert read_secret({"metadata": {}}) == TenantSecret()


def test_a_receipt_is_nobodys_child() -> None:
    made = erasure_receipt("team-a", "acme", "acme", {"documentsBefore": "3"})
    assert made["metadata"]["name"] == "acme-sluice-erasure"
    assert "ownerReferences" not in made["metadata"]


def test_an_event_is_short_enough() -> None:
    made = event(TENANT["metadata"], kind="Normal", reason="Erased", message="x" * 5000, now="2026-03-01T12:00:00Z")
    assert len(made["message"]) == 1024
    assert made["involvedObject"]["uid"] == "uid-1"


def test_a_template_is_known_by_its_content() -> None:
    other = read_template(config_map(yaml.safe_dump({**POD, "metadata": {}})))
    assert isinstance(other, Template)
    assert other.digest != TEMPLATE.digest
