"""The values: documented, strict, and every one of them used."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from support.chart import CASES, CHART, refusal, render_text, run
from values_table import put_table, read_rows, render_table

VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())


EVERYTHING = ("--values", str(CHART / "ci/everything-values.yaml"))
AUTOSCALED = ("--set-json", "ingest.hpa.enabled=true")
OTHERS: dict[str, Any] = {
    "nats.url": "tls://other:4222",
    "nats.monitoring": "other:8222",
    "mongodb.hosts": "other:27017",
    "operator.ingestUrl": "https://other.test",
    "metrics.monitors.interval": "1m",
    "networkPolicy.apiServerPorts": [6444],
    "extraObjects": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine"}}],
}


def leaves(schema: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value with its schema; settings, which the templates go through, and what Kubernetes defines as one."""
    if "properties" in schema and path[-1:] not in {("settings",), ("resources",)}:
        for key, inner in schema["properties"].items():
            yield from leaves(inner, (*path, key))
    elif path != ("global",):
        yield path, schema


def another(path: tuple[str, ...], schema: Any) -> Any:
    """A value that is allowed and is not the default."""
    if (dotted := ".".join(path)) in OTHERS:
        return OTHERS[dotted]
    default: Any = VALUES
    for key in path:
        default = default[key]
    if path[-1] == "enabled" and schema == {"type": "boolean"}:
        return dotted == "ingest.hpa.enabled"
    if path[-1] == "settings":
        return {"logLevel": "DEBUG"}
    if "enum" in schema:
        return next(value for value in schema["enum"] if value != default)
    match schema["type"]:
        case "boolean":
            return not default
        case "integer":
            # Of replicas and of those that are always up, one more than everything-values.yaml has.
            if dotted == "nats.replicas":
                return 3
            return 5 if path[-1] in {"replicas", "minReplicas"} else default + 1
        case "array":
            return [{"name": "other"}] if schema["items"]["type"] == "object" else ["/other"]
        case "object":
            return {"limits": {"cpu": "7"}} if path[-1] == "resources" else {"other": "other"}
        case _:
            return "other"


@pytest.mark.needs("helm")
@pytest.mark.parametrize(("path", "schema"), [pytest.param(*one, id=".".join(one[0])) for one in leaves(SCHEMA)])
def test_every_value_changes_what_is_rendered(path: tuple[str, ...], schema: Any) -> None:
    base = (*EVERYTHING, *AUTOSCALED) if path[:2] == ("ingest", "hpa") and path[-1] != "enabled" else EVERYTHING
    changed = f"{'.'.join(path)}={json.dumps(another(path, schema))}"
    assert render_text(*base, "--set-json", changed) != render_text(*base), "no template uses it"


def objects(schema: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield where, schema
        for key, inner in schema.get("properties", {}).items():
            yield from objects(inner, f"{where}.{key}")


def test_the_schema_knows_every_value_and_no_other() -> None:
    def compare(value: Any, schema: Any, where: str) -> None:
        if not isinstance(value, dict) or "properties" not in schema or where.endswith(".resources"):
            return
        extra = {"global"} if not where else set()
        assert value.keys() == schema["properties"].keys() - extra, where or "the root"
        for key, inner in value.items():
            compare(inner, schema["properties"][key], f"{where}.{key}")

    compare(VALUES, SCHEMA, "")


def test_the_schema_refuses_what_it_does_not_know_at_every_level() -> None:
    """Open are only what Kubernetes defines, and labels and annotations."""
    free = {where for where, schema in objects(SCHEMA) if schema.get("additionalProperties") is not False}
    allowed = r"\.(global|affinity|nodeSelector|(pod)?[aA]nnotations|(\w*L|l)abels|requests|limits)$"
    assert [where for where in free if not re.search(allowed, where)] == []


@pytest.mark.needs("helm")
@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ("ingest.replica=3", "at '/ingest': additional properties 'replica' not allowed"),
        ("nats.ingest.usr=x", "at '/nats/ingest': additional properties 'usr' not allowed"),
        ("operator.settings.maxReplica=3", "at '/operator/settings': additional properties 'maxReplica' not allowed"),
        ("mongo.hosts=x", "additional properties 'mongo' not allowed"),
        ("ingest.replicas=many", "at '/ingest/replicas': got string, want integer"),
        (
            "image.pullPolicy=Sometimes",
            "at '/image/pullPolicy': value must be one of 'Always', 'IfNotPresent', 'Never'",
        ),
        ("worker.settings.parallelWrites=65", "at '/worker/settings/parallelWrites': maximum: got 65, want 64"),
        ("nats.url=nats://user:secret@host", "at '/nats/url'"),
        ("operator.settings.driftSeconds=61", "at '/operator/settings/driftSeconds'"),
        ("ingest.terminationGracePeriodSeconds=25", "ingest.terminationGracePeriodSeconds must exceed"),
        ("worker.terminationGracePeriodSeconds=10", "worker.terminationGracePeriodSeconds must exceed"),
        ("ingest.settings.requestTimeout=2", "ingest.settings.requestTimeout must exceed"),
        ("ingest.settings.tenantRequestBytes=268435456", "ingest.settings.tenantRequestBytes is a share"),
        ("operator.settings.standardMinReplicas=11", "standardMinReplicas exceeds"),
        ("ingest.hpa.minReplicas=11", "ingest.hpa.minReplicas exceeds"),
        ("ingest.pdb.enabled=true,ingest.replicas=1", "ingest.pdb.minAvailable must be smaller"),
        ("crds.enabled=false,crds.keep=false", "would delete the Tenants' definition"),
    ],
    ids=lambda value: value.partition("=")[0],
)
def test_wrong_values_are_refused_with_a_message_that_says_which(values: str, complaint: str) -> None:
    assert complaint in refusal("--set", values)


@pytest.mark.needs("helm")
@pytest.mark.parametrize("case", CASES)
def test_helm_finds_nothing_to_complain_about(case: str) -> None:
    done = run("helm", "lint", "--strict", str(CHART), *CASES[case])
    assert done.returncode == 0, done.stdout
    assert "[WARNING]" not in done.stdout


def test_every_value_is_documented_and_the_table_in_the_readme_is_of_now() -> None:
    text = (CHART / "values.yaml").read_text()
    assert all(row.text or ".settings." in row.path for row in read_rows(text))
    readme = (CHART / "README.md").read_text()
    assert put_table(readme, render_table(text)) == readme, "run `make chart-docs`"


def test_a_value_without_a_comment_is_noticed() -> None:
    with pytest.raises(ValueError, match=r"a\.c has no comment"):
        list(read_rows("a:\n  # -- One.\n  b: 1\n\n  c: 2\n"))
