"""Settings of the operator; each field is the environment variable `SLUICE_<NAME>`. Most are values of the chart."""

from typing import Annotated, Literal

import msgspec

from sluice_core.errors import SettingsError
from sluice_core.limits import MIB
from sluice_core.names import STANDARD_LANE

Seconds = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=0)]


class OperatorSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator is told when it starts."""

    nats_url: str
    nats_user: str = "operator"
    nats_password: str
    nats_monitoring: str
    """`host:port` at which KEDA asks the broker how much waits; in a cluster the headless Service's."""
    nats_account: str = "$G"
    nats_replicas: Annotated[int, msgspec.Meta(ge=1, le=5)] = 1
    mongodb_uri: str
    """With the rights to make databases, users and roles."""
    mongodb_hosts: str
    """`host:port[,host:port][/?options]`, as it stands in the tenants' read-only addresses."""
    mongodb_worker_password: str
    namespace: str
    """Of the release: lane objects are made here, and nowhere else."""
    worker_template: str = "sluice-worker-template"
    """ConfigMap with the workers' pod template; lane objects are its children."""
    ingest_url: str
    """Where tenants send lines, without the path."""
    watch_namespaces: str = ""
    """Comma-separated; empty: all."""

    id_policy: Literal["any", "namespace"] = "any"
    """`namespace`: a tenant id is the namespace's name, or begins with it and a dash."""
    dedicated_namespaces: str = "*"
    """Comma-separated namespaces whose tenants may have a lane of their own; `*`: all; empty: none."""
    max_dedicated_lanes: Count = 32
    max_replicas: Annotated[int, msgspec.Meta(ge=1)] = 20
    """Most workers of one lane."""
    max_records_per_second: Count = 0
    """The largest limits that a tenant may have; 0: whatever it asks for."""
    max_bytes_per_second: Count = 0
    max_burst_seconds: Count = 0
    max_record_bytes: Count = 0
    max_batch_bytes: Count = 0
    max_backlog_bytes: Count = 0

    standard_min_replicas: Count = 0
    standard_max_replicas: Annotated[int, msgspec.Meta(ge=1)] = 10
    standard_lag_threshold: Annotated[int, msgspec.Meta(ge=1)] = 5
    polling_seconds: Annotated[int, msgspec.Meta(ge=1)] = 5
    """How often KEDA looks while a lane has no worker."""
    cooldown_seconds: Annotated[int, msgspec.Meta(ge=1)] = 60
    """How long a lane is empty before its last worker goes; longer than a message waits for its acknowledgement."""
    lane_max_bytes: Annotated[int, msgspec.Meta(ge=MIB)] = 8192 * MIB
    dedicated_lane_max_bytes: Annotated[int, msgspec.Meta(ge=MIB)] = 1024 * MIB
    dead_letters_max_bytes: Annotated[int, msgspec.Meta(ge=MIB)] = 2048 * MIB

    drift_seconds: Seconds = 45.0
    """How often every tenant is compared with what it should be."""
    sweep_seconds: Seconds = 3600.0
    counts_seconds: Seconds = 15.0
    """How often backlog, stored and dead letters are counted, at most."""
    concurrency: Annotated[int, msgspec.Meta(ge=1)] = 10
    """Tenants provisioned at a time."""
    deletions: Annotated[int, msgspec.Meta(ge=1)] = 50
    """Tenants deleted at a time; they mostly wait."""
    deletion_timeout: Seconds = 60.0
    """Longest wait for a lane to finish, before the deletion begins again where it was."""
    store_timeout: Seconds = 5.0
    host: str = "0.0.0.0"  # noqa: S104 - the kubelet and Prometheus reach a pod from outside
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 9090
    """Health and metrics."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Those that are watched; none: all."""
        return split_list(self.watch_namespaces)


def split_list(text: str) -> tuple[str, ...]:
    """Names of a comma-separated list."""
    return tuple(filter(None, (name.strip() for name in text.split(","))))


def check_settings(settings: OperatorSettings) -> None:
    """Raises SettingsError for settings that contradict each other."""
    if settings.standard_min_replicas > settings.standard_max_replicas:
        raise SettingsError(f"SLUICE_STANDARD_MIN_REPLICAS exceeds the largest number for lane {STANDARD_LANE}")
    if settings.drift_seconds > 60:
        raise SettingsError("SLUICE_DRIFT_SECONDS must not exceed 60: drift is repaired within a minute")
