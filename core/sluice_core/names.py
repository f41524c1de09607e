"""Every name that two parts must agree on, in one place.

Invariant: a tenant id that passed `is_tenant_id` can be put into a subject, a stream, a database, a user and a metric
label without escaping, and no two ids map to one name anywhere.
"""

import re

TENANT_ID = re.compile(r"[a-z0-9]([a-z0-9_-]{0,38}[a-z0-9])?")
"""Full match required. At most 40 characters, so that names built from it stay short of every limit below it."""

STANDARD_LANE = "standard"
DEDICATED_LANE_PREFIX = "t-"

CLOSED_PREFIX = "closed."

WORKERS = "workers"
"""Durable consumer of every lane; NATS permissions are written against this name."""

DLQ_STREAM = "SLUICE_DLQ"
TENANTS_BUCKET = "sluice_tenants"
TENANTS_STREAM = f"KV_{TENANTS_BUCKET}"
SEAL_KEY = "_seal"
"""Entry that says the bucket's projection is complete; no tenant id can start with an underscore."""

REGISTRY_DATABASE = "sluice"
REGISTRY_COLLECTION = "tenants"
LOGS_COLLECTION = "processed_logs"
TENANT_INFO_COLLECTION = "sluice_info"
WORKER_ROLE = "sluice_worker"
WORKER_USER = "sluice_worker"

HEARTBEATS = "sluice.hb.>"
"""Every sign of life: what ingest and workers have accepted, settled and read."""

PROVISION_SUBJECT = "sluice.provision"
"""Where `auth: none` asks the embedded stack for a tenant that does not exist yet."""


def is_tenant_id(value: str) -> bool:
    """Whether `value` may name a tenant."""
    return TENANT_ID.fullmatch(value) is not None


def dedicated_lane(tenant_id: str) -> str:
    """The lane that only `tenant_id` uses."""
    return DEDICATED_LANE_PREFIX + tenant_id


def lane_stream(lane: str) -> str:
    """Stream that holds a lane's envelopes."""
    return f"SLUICE_LANE_{lane}"


def lane_subject(lane: str) -> str:
    """Subject that ingest publishes a lane's envelopes to."""
    return f"logs.{lane}"


def closed_subject(lane: str) -> str:
    """Subject of a lane that takes nothing more: nobody may publish there."""
    return CLOSED_PREFIX + lane


def dead_letter_subject(tenant_id: str) -> str:
    """Subject of what a person has to look at, of one tenant."""
    return f"dlq.{tenant_id}"


def parked_subject(tenant_id: str) -> str:
    """Subject of what is tried again by itself, of one tenant."""
    return f"parked.{tenant_id}"


def ingest_heartbeat_subject(instance: str) -> str:
    """Subject of one ingest process's signs of life."""
    return f"sluice.hb.ingest.{instance}"


def worker_heartbeat_subject(instance: str) -> str:
    """Subject of one worker's signs of life."""
    return f"sluice.hb.worker.{instance}"


UNREADABLE = "_unreadable"
"""Stands for the tenant in the dead letters of a message from which no tenant could be read."""


def tenant_config_subject(tenant_id: str) -> str:
    """Subject of a tenant's entry in the key-value bucket."""
    return f"$KV.{TENANTS_BUCKET}.{tenant_id}"


def tenant_database(tenant_id: str) -> str:
    """Database of one tenant: prefixed, so no id can reach `admin`, `local` or `config`."""
    return f"tenant_{tenant_id}"


def reader_user(tenant_id: str) -> str:
    """User that may read one tenant's database and nothing else."""
    return f"tenant_{tenant_id}_reader"
