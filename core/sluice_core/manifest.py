"""Tenant manifests: YAML in, checked `Tenant`s out.

What the API server's schema and CEL rules check on a cluster is checked here for everybody else, so that one file means
the same in both places. Invariant: an error names the document and the field, never a value.
"""

from typing import Any

import msgspec
import yaml

from sluice_core.errors import ManifestError, explain_validation
from sluice_core.names import is_tenant_id
from sluice_core.tenant import Tenant, TenantSpec

API_VERSION = "sluice.dev/v1alpha1"
KIND = "Tenant"


_MOST_MERGED = 10_000


class _Loader(yaml.SafeLoader):
    """YAML as everywhere, but merges (`<<`) of merges cannot multiply until memory is full."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        if len(node.value) > _MOST_MERGED:
            raise yaml.constructor.ConstructorError(None, None, "too much is merged into a mapping", node.start_mark)


def load_tenants(text: str) -> list[Tenant]:
    """The Tenants of a YAML file of one or more documents.

    Raises ManifestError, naming the document and the field that is wrong.
    """
    try:
        documents = [document for document in yaml.load_all(text, _Loader) if document is not None]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "it cannot be parsed"
        # What it quotes may be a value.
        raise ManifestError(f"this is not YAML: {problem.partition(chr(39))[0].rstrip()}{where}") from None
    except RecursionError:
        raise ManifestError("this is not YAML of ours: it is nested too deeply") from None
    except (ValueError, TypeError, LookupError, AttributeError):  # of a number, a date, a tag on the wrong kind
        raise ManifestError("this is not YAML: a number or date in it is none, or a tag is wrong") from None
    if not documents:
        raise ManifestError("there is no document in it")
    return [read_tenant(document, f"document {number}") for number, document in enumerate(documents, 1)]


def read_tenant(document: Any, where: str = "the Tenant") -> Tenant:
    """The Tenant that a document is, also as the API server returns it. Raises ManifestError."""
    if not isinstance(document, dict):
        raise ManifestError(f"{where}: a Tenant is a mapping with apiVersion, kind, metadata and spec")
    if document.get("apiVersion") != API_VERSION or document.get("kind") != KIND:
        raise ManifestError(f"{where}: expected apiVersion {API_VERSION} and kind {KIND}")
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not isinstance(metadata, dict) or not isinstance(name, str) or not name:
        raise ManifestError(f"{where}: metadata.name is missing")
    namespace = metadata.get("namespace") or "default"
    if not isinstance(namespace, str):
        raise ManifestError(f"{where} ({name}): metadata.namespace must be a string")
    spec = _read_spec(document.get("spec"), f"{where} ({name})")
    tenant_id = name if spec.tenant_id is None else spec.tenant_id
    if not is_tenant_id(tenant_id):
        field = (
            "spec.tenantId"
            if spec.tenant_id is not None
            else "metadata.name cannot serve as tenant id, set spec.tenantId; it"
        )
        raise ManifestError(
            f"{where} ({name}): {field} must be 1 to 40 of a-z 0-9 - _, and begin and end with a letter or digit"
        )
    _check_spec(spec, f"{where} ({name})")
    return Tenant(namespace, name, tenant_id, spec)


def _read_spec(value: Any, where: str) -> TenantSpec:
    try:
        return msgspec.convert({} if value is None else value, TenantSpec)
    except msgspec.ValidationError as error:
        what, path = explain_validation(error)
        raise ManifestError(f"{where}: spec{path.removeprefix('$')}: {what}") from None


def _check_spec(spec: TenantSpec, where: str) -> None:
    """What the custom resource's CEL rules check, for those who have no API server."""
    if spec.scaling is not None:
        if spec.lane != "Dedicated":
            raise ManifestError(f"{where}: scaling belongs to a lane of one's own: set lane to Dedicated or remove it")
        if spec.scaling.min_replicas > spec.scaling.max_replicas:
            raise ManifestError(f"{where}: scaling.minReplicas must not be greater than maxReplicas (default 10)")
    names = [key.name for key in spec.keys]
    if len(set(names)) != len(names):
        raise ManifestError(f"{where}: two keys have the same name")
    limits = spec.limits
    if limits.max_record_bytes and limits.max_batch_bytes and limits.max_record_bytes > limits.max_batch_bytes:
        raise ManifestError(f"{where}: limits.maxRecordBytes is greater than maxBatchBytes")
