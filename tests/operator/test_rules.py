"""What the API server refuses of a Tenant, each with a message that a person can act on."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from support.cluster import REPO, Cluster
from support.operating import Rig

LONG = "a" * 50


async def refused(stage: Rig, document: dict[str, Any]) -> str:
    """kubectl's complaint, in one line."""
    complaint = await stage.cluster.kubectl(
        "apply", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump(document), fail=True
    )
    return " ".join(complaint.split())


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ({"scaling": {}}, "spec.scaling: Invalid value: scaling belongs to a lane of one's own: set lane to Dedicated"),
        (
            {"lane": "Dedicated", "scaling": {"minReplicas": 20}},
            "spec.scaling.minReplicas: Invalid value: minReplicas must not be greater than maxReplicas (default 10)",
        ),
        ({"keys": [{"name": "a"}, {"name": "a"}]}, 'spec.keys[1]: Duplicate value: {"name":"a"}'),
        ({"keys": [{"name": "A"}]}, 'spec.keys[0].name: Invalid value: "A": spec.keys[0].name in body should match'),
        (
            {"redaction": {"detectors": {"emial": "Replace"}}},
            "spec.redaction.detectors: Invalid value: unknown detector; known are email phone",
        ),
        (
            {"redaction": {"detectors": {"email": "Shred"}}},
            'spec.redaction.detectors.email: Unsupported value: "Shred": supported values: "Replace", "Mask", "Hash"',
        ),
        (
            {"redaction": {"custom": [{"name": "x", "pattern": "x", "action": "Shred"}]}},
            'spec.redaction.custom[0].action: Unsupported value: "Shred": supported values: "Replace", "Mask"',
        ),
        (
            {"limits": {"maxRecordBytes": 1000, "maxBatchBytes": 100}},
            "spec.limits: Invalid value: maxRecordBytes is greater than maxBatchBytes",
        ),
        (
            {"limits": {"recordsPerSecond": 0}},
            "spec.limits.recordsPerSecond: Invalid value: 0: spec.limits.recordsPerSecond",
        ),
        ({"retention": {"days": 0}}, "spec.retention.days in body should be greater than or equal to 1"),
        ({"lane": "Own"}, 'spec.lane: Unsupported value: "Own": supported values: "Standard", "Dedicated"'),
        ({"suspension": "Off"}, 'spec.suspension: Unsupported value: "Off": supported values: "Active", "Reject"'),
        ({"original": "Maybe"}, 'spec.original: Unsupported value: "Maybe": supported values: "Keep", "Drop"'),
        ({"deletionPolicy": "Orphan"}, 'spec.deletionPolicy: Unsupported value: "Orphan": supported values: "Retain"'),
        ({"tenantId": "Acme"}, "spec.tenantId in body should match '^[a-z0-9]([a-z0-9_-]{0,38}[a-z0-9])?$'"),
        ({"limts": {}}, 'unknown field "spec.limts"'),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
async def test_a_wrong_spec_is_refused_with_a_message_that_says_what_to_do(
    stage: Rig, spec: dict[str, Any], complaint: str
) -> None:
    assert complaint in await refused(stage, stage.manifest("wrong", **spec))


async def test_a_name_that_cannot_be_a_tenant_id_asks_for_one(stage: Rig) -> None:
    for name in (LONG, "with.dots"):
        said = await refused(stage, stage.manifest(name))
        assert f"metadata.name {name} cannot serve as tenant id (at most 40 of a-z 0-9 -): set spec.tenantId" in said
        await stage.cluster.kubectl(
            "apply", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump(stage.manifest(name, tenantId="fine"))
        )
    assert "metadata.name: Too long" in await refused(stage, stage.manifest("a" * 64, tenantId="fine"))


async def test_a_tenant_id_never_changes(cluster: Cluster, stage: Rig) -> None:
    await stage.apply("fixed")
    said = await refused(stage, stage.manifest("fixed", tenantId="other"))
    assert "tenantId is immutable, it is fixed: create another Tenant instead" in said
    # The same id, written out, is no change; and taking it away again is none either.
    await stage.apply("fixed", tenantId="fixed")
    await stage.apply("fixed")
    await stage.delete("fixed", wait=False)


async def test_every_default_is_filled_in(stage: Rig) -> None:
    await stage.apply("plain")
    tenant = await stage.get("plain")
    assert tenant is not None
    assert tenant["spec"] == {
        "lane": "Standard",
        "suspension": "Active",
        "retention": {"days": 30},
        "original": "Keep",
        "redaction": {"style": "Plain"},
        "keys": [{"name": "default"}],
        "deletionPolicy": "Retain",
        "erasureReceipt": False,
    }
    await stage.delete("plain", wait=False)


async def test_kubectl_explains_and_lists(cluster: Cluster, stage: Rig) -> None:
    said = await cluster.kubectl("explain", "tenant.spec.suspension")
    assert "Buffer takes and parks them" in " ".join(said.split())
    await stage.apply("listed")
    listing = await cluster.kubectl("get", "tnt", "-n", stage.namespace)
    assert listing.split()[:7] == ["NAME", "READY", "LANE", "BACKLOG", "STORED", "DEAD", "AGE"]
    assert "listed" in await cluster.kubectl("get", "sluice", "-n", stage.namespace)
    await stage.delete("listed", wait=False)


@pytest.mark.parametrize("file", sorted((REPO / "k8s" / "samples").glob("*.yaml")), ids=lambda file: file.stem)
async def test_every_sample_is_taken(stage: Rig, file: Path) -> None:
    await stage.cluster.kubectl("apply", "--dry-run=server", "-f", str(file))
