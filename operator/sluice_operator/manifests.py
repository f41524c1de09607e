"""The objects that the operator makes in the cluster, as values.

All of a lane's lie in the release's namespace and are children of the workers' template, so that uninstalling the chart
takes them along; a tenant's Secret lies beside its Tenant and is its child. Invariants: pure; and no manifest of a
Deployment ever says how many replicas there should be, which is KEDA's business alone.
"""

import base64
import copy
from hashlib import sha256
from typing import Any

import msgspec
import yaml

from sluice_core.edge.secrets import TenantSecret
from sluice_core.names import DEDICATED_LANE_PREFIX, STANDARD_LANE, WORKERS, lane_stream
from sluice_core.tenant import Scaling
from sluice_operator.kube.kinds import CONFIG_MAP, DEPLOYMENT, EVENT, SCALED_OBJECT, SECRET, TENANT

Object = dict[str, Any]

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "sluice-operator"
LANE_LABEL = "sluice.dev/lane"
TENANT_LABEL = "sluice.dev/tenant"
TENANT_UID_LABEL = "sluice.dev/tenant-uid"
"""Of the Tenant object."""
TEMPLATE_HASH = "sluice.dev/template-hash"
TEMPLATE_KEY = "template.yaml"
"""Key of the workers' template ConfigMap: a pod template in YAML, with a container named `worker`."""
WORKER_CONTAINER = "worker"
OURS = f"{MANAGED_BY}={MANAGER}"
"""Selector of everything the operator made."""
URL_ENTRY, TENANT_ENTRY, URI_ENTRY, PASSWORD_ENTRY, CURL_ENTRY = (
    "INGEST_URL",
    "TENANT_ID",
    "MONGODB_URI",
    "MONGODB_PASSWORD",
    "EXAMPLE",
)
"""A Secret's entries beside the keys; in capitals, which no key's name has."""


class TemplateError(ValueError):
    """The workers' template is not a pod template; the message says what is missing."""


class Template(msgspec.Struct, frozen=True):
    """The workers' pod template as the chart's ConfigMap holds it."""

    name: str
    uid: str
    """Of the ConfigMap."""
    pod: Object
    digest: str


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """What all lanes have in common."""

    namespace: str
    monitoring: str
    account: str
    polling_seconds: int
    cooldown_seconds: int


class LaneOwner(msgspec.Struct, frozen=True):
    """Whose lane it is; nobody's: the shared one."""

    tenant_id: str = ""
    uid: str = ""
    """Of the Tenant object."""


def lane_object_name(lane: str) -> str:
    """Name of a lane's Deployment and ScaledObject: readable, and different for different lanes."""
    slug = lane.removeprefix(DEDICATED_LANE_PREFIX).replace("_", "-")[:36].strip("-")
    return f"sluice-lane-{slug}-{sha256(lane.encode()).hexdigest()[:8]}"


def read_template(config_map: Object) -> Template:
    """The pod template in a ConfigMap. Raises TemplateError."""
    meta = config_map["metadata"]
    text = (config_map.get("data") or {}).get(TEMPLATE_KEY)
    if not text:
        raise TemplateError(f"ConfigMap {meta['name']} has no {TEMPLATE_KEY}")
    try:
        pod = yaml.safe_load(text)
    except yaml.YAMLError:
        raise TemplateError(f"{TEMPLATE_KEY} of ConfigMap {meta['name']} is not YAML") from None
    containers = ((pod.get("spec") or {}).get("containers") or []) if isinstance(pod, dict) else []
    if not any(isinstance(one, dict) and one.get("name") == WORKER_CONTAINER for one in containers):
        raise TemplateError(f"{TEMPLATE_KEY} of ConfigMap {meta['name']} has no container {WORKER_CONTAINER}")
    return Template(meta["name"], meta["uid"], pod, sha256(text.encode()).hexdigest()[:16])


def worker_deployment(lane: str, owner: LaneOwner, template: Template, place: Place) -> Object:
    """A lane's workers. How many there are is not in it."""
    pod = copy.deepcopy(template.pod)
    meta = pod.setdefault("metadata", {})
    selector = {LANE_LABEL: lane, "app.kubernetes.io/name": "sluice", "app.kubernetes.io/component": "worker"}
    meta["labels"] = {**(meta.get("labels") or {}), **selector}
    meta["annotations"] = {**(meta.get("annotations") or {}), TEMPLATE_HASH: template.digest}
    for container in pod["spec"]["containers"]:
        if container["name"] == WORKER_CONTAINER:
            others = [one for one in container.get("env") or [] if one["name"] != "SLUICE_LANE"]
            container["env"] = [*others, {"name": "SLUICE_LANE", "value": lane}]
    return {
        **DEPLOYMENT.head,
        "metadata": _lane_meta(lane, owner, template, place),
        "spec": {"selector": {"matchLabels": selector}, "revisionHistoryLimit": 2, "template": pod},
    }


def scaled_object(lane: str, owner: LaneOwner, scaling: Scaling, template: Template, place: Place) -> Object:
    """How a lane's workers scale: by the messages of its consumer that are not finished."""
    name = lane_object_name(lane)
    return {
        **SCALED_OBJECT.head,
        "metadata": _lane_meta(lane, owner, template, place),
        "spec": {
            "scaleTargetRef": {"name": name},
            "pollingInterval": place.polling_seconds,
            "cooldownPeriod": place.cooldown_seconds,
            "minReplicaCount": scaling.min_replicas,
            "maxReplicaCount": scaling.max_replicas,
            # A broker that cannot be asked is no reason to stop; and from none it starts one, to be on the safe side.
            "fallback": {
                "failureThreshold": 3,
                "replicas": max(1, scaling.min_replicas),
                "behavior": "currentReplicasIfHigher",
            },
            # The autoscaler's default is to wait five minutes before it takes workers away.
            "advanced": {
                "horizontalPodAutoscalerConfig": {
                    "behavior": {"scaleDown": {"stabilizationWindowSeconds": place.cooldown_seconds}}
                }
            },
            "triggers": [
                {
                    "type": "nats-jetstream",
                    "metadata": {
                        "natsServerMonitoringEndpoint": place.monitoring,
                        "account": place.account,
                        "stream": lane_stream(lane),
                        "consumer": WORKERS,
                        "lagThreshold": str(scaling.lag_threshold),
                        "activationLagThreshold": "0",
                    },
                }
            ],
        },
    }


def _lane_meta(lane: str, owner: LaneOwner, template: Template, place: Place) -> Object:
    labels = {
        MANAGED_BY: MANAGER,
        "app.kubernetes.io/name": "sluice",
        "app.kubernetes.io/component": "worker",
        LANE_LABEL: lane,
    }
    if lane != STANDARD_LANE:
        labels |= {TENANT_LABEL: owner.tenant_id, TENANT_UID_LABEL: owner.uid}
    return {
        "name": lane_object_name(lane),
        "namespace": place.namespace,
        "labels": labels,
        "annotations": {TEMPLATE_HASH: template.digest},
        "ownerReferences": [
            {
                "apiVersion": CONFIG_MAP.api,
                "kind": CONFIG_MAP.kind,
                "name": template.name,
                "uid": template.uid,
                "controller": True,
                "blockOwnerDeletion": False,
            }
        ],
    }


def secret_name(tenant_name: str) -> str:
    """Name of a Tenant's Secret."""
    return f"{tenant_name}-sluice"


def receipt_name(tenant_name: str) -> str:
    """Name of the ConfigMap that an erased Tenant leaves behind."""
    return f"{tenant_name}-sluice-erasure"


def tenant_secret(tenant: Object, tenant_id: str, secret: TenantSecret, ingest_url: str) -> Object:
    """The Secret beside a Tenant object: keys, addresses, and a command to try."""
    url = f"{ingest_url.rstrip('/')}/ingest"
    entries = {
        **secret.keys,
        TENANT_ENTRY: tenant_id,
        URL_ENTRY: url,
        URI_ENTRY: secret.mongodb_uri,
        PASSWORD_ENTRY: secret.reader_password,
        CURL_ENTRY: _curl(url, min(secret.keys.items(), default=("", "KEY"))[1]),
    }
    meta = tenant["metadata"]
    return {
        **SECRET.head,
        "type": "Opaque",
        "metadata": {
            "name": secret_name(meta["name"]),
            "namespace": meta["namespace"],
            "labels": {MANAGED_BY: MANAGER, TENANT_LABEL: tenant_id, TENANT_UID_LABEL: meta["uid"]},
            "ownerReferences": [tenant_reference(meta)],
        },
        "data": {name: base64.b64encode(value.encode()).decode() for name, value in entries.items()},
    }


def read_secret(secret: Object) -> TenantSecret:
    """What a tenant's Secret says; whether it is believed is decided by its digests."""
    entries = {}
    for name, value in (secret.get("data") or {}).items():
        try:
            entries[name] = base64.b64decode(value, validate=True).decode()
        except ValueError:  # not ours: somebody put it there
            continue
    keys = {name: value for name, value in entries.items() if name == name.lower()}
    return TenantSecret(keys, entries.get(PASSWORD_ENTRY, ""), entries.get(URI_ENTRY, ""))


def tenant_reference(meta: Object) -> Object:
    """What makes an object the Tenant's child."""
    return {"apiVersion": TENANT.api, "kind": TENANT.kind, "name": meta["name"], "uid": meta["uid"]}


def erasure_receipt(namespace: str, name: str, tenant_id: str, entries: dict[str, str]) -> Object:
    """What stays of an erased Tenant where it was asked for. Nobody's child, or it would go too."""
    return {
        **CONFIG_MAP.head,
        "metadata": {
            "name": receipt_name(name),
            "namespace": namespace,
            "labels": {MANAGED_BY: MANAGER, TENANT_LABEL: tenant_id},
        },
        "data": entries,
    }


def event(meta: Object, *, kind: str, reason: str, message: str, now: str) -> Object:
    """An Event about a Tenant. `kind` is Normal or Warning."""
    return {
        **EVENT.head,
        "metadata": {"generateName": f"{meta['name']}.", "namespace": meta["namespace"]},
        "involvedObject": {**TENANT.head, **{name: meta[name] for name in ("name", "namespace", "uid")}},
        "reason": reason,
        "message": message[:1024],
        "type": kind,
        "source": {"component": MANAGER},
        "reportingComponent": MANAGER,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }


def _curl(url: str, key: str) -> str:
    return f"curl -i {url} -H 'Authorization: Bearer {key}' -H 'Content-Type: text/plain' -d 'hello from a shipper'"
