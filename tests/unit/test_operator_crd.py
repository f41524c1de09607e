"""The Tenant's definition says what `sluice_core.tenant` says, field by field."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from sluice_core.names import TENANT_ID
from sluice_core.reasons import ALL
from sluice_core.tenant import TenantSpec
from sluice_operator.conditions import PARTS, READY
from sluice_redact import DETECTORS

_CRD = yaml.safe_load((Path(__file__).resolve().parents[2] / "charts/sluice/files/crds/tenants.yaml").read_text())
_VERSION = _CRD["spec"]["versions"][0]
_SCHEMA = _VERSION["schema"]["openAPIV3Schema"]
_SPEC = _SCHEMA["properties"]["spec"]
_BOUNDS = {"ge": "minimum", "le": "maximum", "min_length": "minLength", "max_length": "maxLength"}
_LISTS = {"min_length": "minItems", "max_length": "maxItems"}
_DICTS = {"max_length": "maxProperties"}


def _bounds(kind: Any, schema: dict[str, Any], names: dict[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    ours = {there: value for here, there in names.items() if (value := getattr(kind, here, None)) is not None}
    return ours, {name: schema[name] for name in names.values() if name in schema}


def _differences(kind: Any, schema: dict[str, Any], path: str) -> list[str]:
    """Where a type and a schema say different things."""
    found: list[str] = []

    def compare(what: str, ours: Any, theirs: Any) -> None:
        if ours != theirs:
            found.append(f"{path}: {what} is {ours!r} here and {theirs!r} there")

    if isinstance(kind, msgspec.inspect.UnionType):
        [kind] = [one for one in kind.types if not isinstance(one, msgspec.inspect.NoneType)]
    match kind:
        case msgspec.inspect.StructType():
            compare("the type", "object", schema["type"])
            properties = schema.get("properties", {})
            compare("the set of fields", {one.encode_name for one in kind.fields}, set(properties))
            compare(
                "what is required",
                {one.encode_name for one in kind.fields if one.required},
                set(schema.get("required", [])),
            )
            for field in kind.fields:
                inner = properties.get(field.encode_name)
                if inner is not None:
                    found.extend(_differences(field.type, inner, f"{path}.{field.encode_name}"))
                    found.extend(_default(field, inner, f"{path}.{field.encode_name}"))
        case msgspec.inspect.IntType():
            compare("the type", "integer", schema["type"])
            compare("bounds", *_bounds(kind, schema, _BOUNDS))
            assert schema["format"] == "int64" or schema["maximum"] < 2**31
        case msgspec.inspect.StrType():
            compare("the type", "string", schema["type"])
            compare("bounds", *_bounds(kind, schema, _BOUNDS))
            compare("the pattern", (kind.pattern or "").replace(r"\Z", "$"), schema.get("pattern", ""))
        case msgspec.inspect.LiteralType():
            compare("the values", set(kind.values), set(schema["enum"]))
        case msgspec.inspect.BoolType():
            compare("the type", "boolean", schema["type"])
        case msgspec.inspect.ListType():
            compare("bounds", *_bounds(kind, schema, _LISTS))
            found.extend(_differences(kind.item_type, schema["items"], f"{path}[]"))
        case msgspec.inspect.DictType():
            compare("bounds", *_bounds(kind, schema, _DICTS))
            found.extend(_differences(kind.value_type, schema["additionalProperties"], f"{path}{{}}"))
        case _:
            found.append(f"{path}: nobody compares {kind}")
    return found


def _default(field: Any, schema: dict[str, Any], path: str) -> list[str]:
    default = field.default
    if field.default_factory is not msgspec.NODEFAULT:
        default = field.default_factory()
    ours = None if default is msgspec.NODEFAULT else msgspec.to_builtins(default)
    theirs = schema.get("default")
    if isinstance(ours, dict) or ours == []:  # an object's fields have their own; what is empty is the same as absent
        ours, theirs = None, None if theirs in (None, {}) else theirs
    return [] if ours == theirs else [f"{path}: the default is {ours!r} here and {theirs!r} there"]


def test_the_definition_and_our_types_agree() -> None:
    schema = {**_SPEC, "properties": dict(_SPEC["properties"])}
    tenant_id = schema["properties"].pop("tenantId")
    kind: Any = msgspec.inspect.type_info(TenantSpec)
    fields = tuple(one for one in kind.fields if one.name != "tenant_id")
    assert _differences(msgspec.structs.replace(kind, fields=fields), schema, "spec") == []
    # The tenant id is checked by a function of ours, since subjects and databases rest on it, and not by the type.
    assert tenant_id["pattern"] == f"^{TENANT_ID.pattern}$"
    assert (tenant_id["minLength"], tenant_id["maxLength"]) == (1, 40)


def test_the_rule_about_detectors_names_those_that_there_are() -> None:
    [rule] = _SPEC["properties"]["redaction"]["properties"]["detectors"]["x-kubernetes-validations"]
    assert set(re.findall(r"'(\w+)'", rule["rule"])) == set(DETECTORS)
    assert set(rule["message"].partition("known are ")[2].split()) == set(DETECTORS)


def _walk(schema: dict[str, Any], path: str) -> list[tuple[str, dict[str, Any]]]:
    found = [(path, schema)]
    for name, inner in schema.get("properties", {}).items():
        found += _walk(inner, f"{path}.{name}")
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            found += _walk(schema[name], f"{path}[]")
    return found


@pytest.mark.parametrize(
    ("path", "schema"), _walk(_SCHEMA, "Tenant"), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_field_is_described(path: str, schema: dict[str, Any]) -> None:
    if path.startswith("Tenant.metadata"):
        return  # the API server has it from elsewhere, and takes no description here
    assert len(schema.get("description", "")) > 5
    assert schema["description"].endswith(".")
    assert "x-kubernetes-preserve-unknown-fields" not in schema


def test_the_root_rules_are_frozen() -> None:
    """A stricter one would make objects undeletable that are there: the finalizer could not be removed."""
    effective = "has(SELF.spec.tenantId) ? SELF.spec.tenantId : SELF.metadata.name"
    rules = [re.sub(r"\s+", " ", one["rule"]) for one in _SCHEMA["x-kubernetes-validations"]]
    assert rules == [
        "has(self.spec.tenantId) || self.metadata.name.matches('^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$')",
        f"({effective.replace('SELF', 'self')}) == ({effective.replace('SELF', 'oldSelf')})",
    ]


def test_kubectl_shows_what_a_dashboard_would() -> None:
    columns = _VERSION["additionalPrinterColumns"]
    assert [one["name"] for one in columns if not one.get("priority")] == [
        "Ready",
        "Lane",
        "Backlog",
        "Stored",
        "Dead",
        "Age",
    ]
    assert [one["name"] for one in columns if one.get("priority")] == ["Tenant", "Reason", "Message"]
    assert _CRD["spec"]["names"]["shortNames"] == ["tnt"]
    assert _CRD["spec"]["names"]["categories"] == ["sluice"]


def test_the_status_has_a_place_for_every_condition_and_every_reason() -> None:
    condition = _SCHEMA["properties"]["status"]["properties"]["conditions"]["items"]["properties"]
    assert max(len(one) for one in (READY, *PARTS)) <= condition["type"]["maxLength"]
    assert max(len(reason.word) for reason in ALL.values()) <= condition["reason"]["maxLength"]
