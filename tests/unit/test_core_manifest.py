"""Tenant manifests: what is taken, what every default is, and that a wrong field is named and no value repeated."""

import time
from contextlib import suppress
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from sluice_core.errors import ManifestError
from sluice_core.limits import DEFAULT_LIMITS
from sluice_core.manifest import API_VERSION, KIND, load_tenants
from sluice_core.tenant import KeySpec, LimitsSpec, Redaction, Retention, Scaling, Tenant, TenantSpec

_SECRET = "hunter2hunter2"


def _manifest(spec: Any = None, **document: Any) -> str:
    whole = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "acme"}, "spec": spec, **document}
    return yaml.safe_dump({name: value for name, value in whole.items() if value is not None})


def _load(spec: Any = None, **document: Any) -> Tenant:
    [tenant] = load_tenants(_manifest(spec, **document))
    return tenant


def _refusal(text: str) -> str:
    with pytest.raises(ManifestError) as caught:
        load_tenants(text)
    return str(caught.value)


def test_a_name_is_enough() -> None:
    assert _load() == Tenant("default", "acme", "acme", TenantSpec())


def test_what_is_left_out_has_its_default() -> None:
    spec = _load({}).spec
    assert spec == TenantSpec(
        tenant_id=None,
        lane="Standard",
        scaling=None,
        suspension="Active",
        limits=LimitsSpec(),
        retention=Retention(days=30),
        original="Keep",
        redaction=Redaction(detectors={}, custom=[], tests=[]),
        keys=[KeySpec(name="default")],
        deletion_policy="Retain",
        erasure_receipt=False,
    )
    assert spec.limits.resolve(DEFAULT_LIMITS) == DEFAULT_LIMITS


def test_scaling_has_defaults_of_its_own() -> None:
    assert _load({"lane": "Dedicated", "scaling": {}}).spec.scaling == Scaling(
        min_replicas=0, max_replicas=10, lag_threshold=5
    )


def test_every_field_is_read() -> None:
    spec = {
        "tenantId": "acme_corp",
        "lane": "Dedicated",
        "scaling": {"minReplicas": 1, "maxReplicas": 3, "lagThreshold": 7},
        "suspension": "Reject",
        "limits": {"recordsPerSecond": 5, "bytesPerSecond": 4096, "burstSeconds": 2, "maxRecordBytes": 1000},
        "retention": {"days": 7},
        "original": "Drop",
        "redaction": {"detectors": {"email": "Keep"}, "custom": [], "tests": []},
        "keys": [{"name": "a"}, {"name": "b"}],
        "deletionPolicy": "Delete",
        "erasureReceipt": True,
    }
    tenant = _load(spec, metadata={"name": "acme", "namespace": "team-a"})
    assert (tenant.namespace, tenant.name, tenant.tenant_id) == ("team-a", "acme", "acme_corp")
    assert tenant.lane == "t-acme_corp"
    assert tenant.spec.scaling == Scaling(min_replicas=1, max_replicas=3, lag_threshold=7)
    assert tenant.spec.limits.max_record_bytes == 1000
    assert tenant.spec.redaction.detectors == {"email": "Keep"}
    assert [key.name for key in tenant.spec.keys] == ["a", "b"]
    assert (tenant.spec.original, tenant.spec.deletion_policy, tenant.spec.erasure_receipt) == ("Drop", "Delete", True)


def test_what_the_api_server_adds_does_no_harm() -> None:
    metadata = {"name": "acme", "labels": {"a": "b"}, "uid": "1", "managedFields": []}
    assert _load({}, metadata=metadata, status={"ready": True}).tenant_id == "acme"


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"tenantID": "x"}, "tenantID"),
        ({"lanes": "Standard"}, "lanes"),
        ({"tenantId": 5}, "tenantId"),
        ({"tenantId": _SECRET.upper()}, "tenantId"),
        ({"tenantId": ""}, "tenantId"),
        ({"lane": _SECRET}, "lane"),
        ({"suspension": _SECRET}, "suspension"),
        ({"original": _SECRET}, "original"),
        ({"deletionPolicy": _SECRET}, "deletionPolicy"),
        ({"erasureReceipt": _SECRET}, "erasureReceipt"),
        ({"limits": {"recordsPerSecond": 0}}, "recordsPerSecond"),
        ({"limits": {"bytesPerSecond": 1023}}, "bytesPerSecond"),
        ({"limits": {"burstSeconds": 601}}, "burstSeconds"),
        ({"limits": {"maxRecordBytes": 2**20 + 1}}, "maxRecordBytes"),
        ({"limits": {"maxRecordBytes": _SECRET}}, "maxRecordBytes"),
        ({"limits": {"maxRecordBytes": 1.5}}, "maxRecordBytes"),
        ({"limits": {"maxBatchBytes": 0}}, "maxBatchBytes"),
        ({"limits": {"maxBacklogBytes": 1}}, "maxBacklogBytes"),
        ({"limits": {"maxBatchByte": 1}}, "maxBatchByte"),
        ({"limits": {"maxRecordBytes": 2000, "maxBatchBytes": 1000}}, "maxRecordBytes"),
        ({"limits": _SECRET}, "limits"),
        ({"retention": {"days": 0}}, "days"),
        ({"retention": {"days": 3651}}, "days"),
        ({"redaction": {"detectors": {"email": _SECRET}}}, "redaction.detectors"),
        ({"redaction": {"detectors": {f"d{n}": "Keep" for n in range(33)}}}, "redaction.detectors"),
        ({"redaction": {"custom": [{"name": "A", "pattern": _SECRET}]}}, "redaction.custom"),
        ({"redaction": {"custom": [{"name": "a", "pattern": _SECRET * 20}]}}, "redaction.custom"),
        ({"redaction": {"tests": [{"input": _SECRET}]}}, "redaction.tests"),
        ({"keys": [{"name": "A"}]}, "keys"),
        ({"keys": [{"name": "a\n"}]}, "keys"),
        ({"keys": [{"name": "-a"}]}, "keys"),
        ({"keys": [{"name": "a"}] * 2}, "keys"),
        ({"keys": [{"name": f"k{n}"} for n in range(9)]}, "keys"),
        ({"lane": "Dedicated", "scaling": {"minReplicas": 11}}, "minReplicas"),
        ({"lane": "Dedicated", "scaling": {"maxReplicas": 0}}, "maxReplicas"),
        ({"lane": "Dedicated", "scaling": {"lagThreshold": 0}}, "lagThreshold"),
        ({"scaling": {}}, "scaling"),
    ],
)
def test_a_wrong_field_is_named_and_its_value_is_not(spec: dict[str, Any], field: str) -> None:
    message = _refusal(_manifest(spec))
    assert field in message
    assert _SECRET not in message
    assert _SECRET.upper() not in message
    assert "document 1 (acme)" in message


@pytest.mark.parametrize("spec", [[], "", 0, False, "text", 5, ["a"]])
def test_a_spec_is_a_mapping(spec: Any) -> None:
    assert "spec" in _refusal(_manifest(spec))


@pytest.mark.parametrize("document", ["text", "5", "[]", "- a", "true", "2024-01-01", "!!binary aGk="])
def test_a_document_is_a_mapping(document: str) -> None:
    assert "document 1" in _refusal(document)


@pytest.mark.parametrize("text", ["", "---", "---\n---\n", "# only a comment\n", "null"])
def test_a_file_without_a_document_is_refused(text: str) -> None:
    assert "no document" in _refusal(text)


def test_several_documents_are_several_tenants() -> None:
    text = "---\n".join(["", _manifest(metadata={"name": "a"}), "", _manifest(metadata={"name": "b"})])
    assert [tenant.name for tenant in load_tenants(text)] == ["a", "b"]


def test_the_wrong_one_of_several_documents_is_named() -> None:
    text = "---\n".join([_manifest(), _manifest({"lanes": 1})])
    assert "document 2" in _refusal(text)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"apiVersion": "v1"}, "apiVersion"),
        ({"kind": "Pod"}, "kind"),
        ({"metadata": None}, "metadata.name"),
        ({"metadata": []}, "metadata.name"),
        ({"metadata": {"name": ""}}, "metadata.name"),
        ({"metadata": {"name": 5}}, "metadata.name"),
        ({"metadata": {"name": ["a"]}}, "metadata.name"),
        ({"metadata": {"name": "Acme"}}, "metadata.name"),
        ({"metadata": {"name": "a.b"}}, "metadata.name"),
        ({"metadata": {"name": "acme", "namespace": ["a"]}}, "metadata.namespace"),
        ({"metadata": {"name": "acme", "namespace": {"a": 1}}}, "metadata.namespace"),
    ],
)
def test_who_the_tenant_is_must_be_said_well(change: dict[str, Any], field: str) -> None:
    assert field in _refusal(_manifest(**change))


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "a: b: c",
        "\tx: 1",
        "*unknown",
        "a: !!python/object/apply:os.system [id]",
        "!unknown {}",
        "a: 2024-99-99",
        "a: 2024-01-01T99:00:00Z",
        "a: 0b_",
        f"a: {'9' * 5000}",
        "a: !!int x",
        "a: !!float x",
        "? [a]\n: b",
        "? {a: b}\n: c",
        "a: \x01",
        "a: \ud800",
        "[" * 500,
        "{a: " * 500,
        "- " * 500,
        "&a [*a]",
        "<<: 5",
        "<<: [1]",
        "!!set x",
        "%YAML 9.9\n---\n",
    ],
)
def test_hostile_yaml_is_refused_in_our_own_words(text: str) -> None:
    assert _SECRET not in _refusal(text)


def test_a_value_is_not_repeated_when_yaml_cannot_be_read() -> None:
    for text in (f"a: *{_SECRET}", f"a: !{_SECRET} b", f"a: !!int {_SECRET}", f'a: "{_SECRET}\\q"', f"a: '{_SECRET}"):
        assert _SECRET not in _refusal(text)


def test_an_alias_is_fine() -> None:
    text = f"apiVersion: {API_VERSION}\nkind: {KIND}\nmetadata: {{name: &n acme}}\nspec: {{tenantId: *n}}\n"
    assert load_tenants(text)[0].tenant_id == "acme"


def test_a_spec_that_contains_itself_is_refused() -> None:
    head = f"apiVersion: {API_VERSION}\nkind: {KIND}\nmetadata: {{name: acme}}\n"
    for spec in ("&s {limits: *s}", "{redaction: &r {detectors: *r}}", "{keys: &k [*k]}"):
        _refusal(f"{head}spec: {spec}\n")


@pytest.mark.parametrize(
    ("first", "level"),
    [
        ("a0: &a0 {x: 1}", "a{0}: &a{0} [" + ", ".join(["*a{1}"] * 9) + "]"),
        ("a0: &a0 {x: 1}", "a{0}: &a{0} {{<<: [" + ", ".join(["*a{1}"] * 9) + "]}}"),
    ],
    ids=["of lists", "of merges"],
)
def test_an_alias_bomb_does_not_go_off(first: str, level: str) -> None:
    lines = [first, *(level.format(depth, depth - 1) for depth in range(1, 8))]
    text = "\n".join([f"apiVersion: {API_VERSION}", f"kind: {KIND}", "metadata: {name: acme}", *lines])
    started = time.process_time()
    for spec in ("spec: *a7", "spec: {keys: *a7}", "spec: {redaction: {detectors: *a7}}"):
        _refusal(f"{text}\n{spec}\n")
    assert time.process_time() - started < 2, "it took as long as an explosion does"


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates() | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3),
    max_leaves=6,
)
_fields = ["tenantId", "lane", "scaling", "suspension", "limits", "retention", "original", "redaction", "keys"]


@given(st.dictionaries(st.sampled_from(_fields), _json, max_size=4))
def test_a_spec_of_anything_is_taken_or_refused_and_never_worse(spec: dict[str, Any]) -> None:
    with suppress(ManifestError):
        load_tenants(_manifest(spec))


@given(st.text() | st.text("-:[]{}&*!|>'\"%@`#,? \n\tab1~<", max_size=40))
@example("\ufeff")
@example("a: &a")
def test_text_of_any_kind_is_refused_and_never_worse(text: str) -> None:
    with pytest.raises(ManifestError):
        load_tenants(text)
