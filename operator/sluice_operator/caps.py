"""What the platform allows a tenant, whatever its manifest says.

Invariant: pure; what is above a cap is clamped and named, and what is not allowed at all is refused with its reason,
never granted in part.
"""

from typing import NamedTuple

import msgspec

from sluice_core.limits import DEFAULT_LIMITS, Limits
from sluice_core.reasons import DEDICATED_NOT_ALLOWED, TENANT_ID_NOT_ALLOWED, Reason
from sluice_core.tenant import Scaling, Tenant
from sluice_operator.settings import OperatorSettings, split_list


class Caps(msgspec.Struct, frozen=True, kw_only=True):
    """The platform's rules."""

    id_policy: str = "any"
    dedicated_namespaces: tuple[str, ...] = ("*",)
    max_dedicated_lanes: int = 32
    max_replicas: int = 20
    limits: dict[str, int] = {}
    """The largest value of each limit that has one."""


class Clamped(NamedTuple):
    """A Tenant as the platform lets it be."""

    tenant: Tenant
    capped: tuple[str, ...]
    """What was larger, such as `limits.recordsPerSecond`."""


def caps_of(settings: OperatorSettings) -> Caps:
    """The rules that the chart's values set."""
    largest = {
        "records_per_second": settings.max_records_per_second,
        "bytes_per_second": settings.max_bytes_per_second,
        "burst_seconds": settings.max_burst_seconds,
        "max_record_bytes": settings.max_record_bytes,
        "max_batch_bytes": settings.max_batch_bytes,
        "max_backlog_bytes": settings.max_backlog_bytes,
    }
    return Caps(
        id_policy=settings.id_policy,
        dedicated_namespaces=split_list(settings.dedicated_namespaces),
        max_dedicated_lanes=settings.max_dedicated_lanes,
        max_replicas=settings.max_replicas,
        limits={name: value for name, value in largest.items() if value},
    )


def clamp(tenant: Tenant, caps: Caps) -> Clamped:
    """The Tenant with nothing above the platform's caps."""
    spec, capped = tenant.spec, []
    written = {}
    for name, largest in caps.limits.items():
        value = getattr(spec.limits, name)
        if value is not None and value > largest:
            written[name] = largest
            capped.append(f"limits.{_camel(name)}")
    limits = msgspec.structs.replace(spec.limits, **written) if written else spec.limits
    scaling = spec.scaling
    if spec.lane == "Dedicated":
        wanted = scaling or Scaling()
        most = min(wanted.max_replicas, caps.max_replicas)
        least = min(wanted.min_replicas, most)
        if scaling is not None and most < wanted.max_replicas:
            capped.append("scaling.maxReplicas")
        if least < wanted.min_replicas:
            capped.append("scaling.minReplicas")
        scaling = msgspec.structs.replace(wanted, max_replicas=most, min_replicas=least)
    spec = msgspec.structs.replace(spec, limits=limits, scaling=scaling)
    return Clamped(msgspec.structs.replace(tenant, spec=spec), tuple(capped))


def default_limits(caps: Caps, defaults: Limits = DEFAULT_LIMITS) -> Limits:
    """The platform's default limits, which its caps bound too."""
    return msgspec.structs.replace(
        defaults, **{name: min(largest, getattr(defaults, name)) for name, largest in caps.limits.items()}
    )


def refuse_id(tenant: Tenant, caps: Caps) -> Reason | None:
    """Why the tenant may not have this id, None when it may."""
    if caps.id_policy == "any":
        return None
    namespace = tenant.namespace
    if tenant.tenant_id == namespace or tenant.tenant_id.startswith((f"{namespace}-", f"{namespace}_")):
        return None
    return TENANT_ID_NOT_ALLOWED


def refuse_dedicated(namespace: str, others: int, caps: Caps) -> Reason | None:
    """Why a tenant of this namespace may not have another lane of its own, beside `others` that there are."""
    allowed = "*" in caps.dedicated_namespaces or namespace in caps.dedicated_namespaces
    return None if allowed and others < caps.max_dedicated_lanes else DEDICATED_NOT_ALLOWED


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)
