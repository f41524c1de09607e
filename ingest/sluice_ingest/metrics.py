"""What ingest counts. Label values are tenant ids, reason codes and routes: never anything a request brought."""

from collections.abc import Iterable, Mapping
from functools import cache

from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter(
    "sluice_ingest_requests_total", "Requests to the intake by their outcome: `accepted` or a reason.", ["outcome"]
)
ACCEPTED_RECORDS = Counter("sluice_ingest_accepted_records_total", "Records that got a 202.", ["tenant"])
ACCEPTED_BYTES = Counter("sluice_ingest_accepted_bytes_total", "Encoded bytes of records that got a 202.", ["tenant"])
REJECTED_RECORDS = Counter(
    "sluice_ingest_rejected_records_total",
    "Records refused in requests that were read, by reason.",
    ["tenant", "reason"],
)
REQUEST_SECONDS = Histogram(
    "sluice_ingest_request_seconds",
    "Time from a request's headers to its answer.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
COMMIT_SECONDS = Histogram(
    "sluice_ingest_commit_seconds",
    "Time from a publish to its acknowledgement, the broker's disk flush included.",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
ENVELOPE_BYTES_SIZES = Histogram(
    "sluice_ingest_envelope_bytes",
    "Size of published envelopes.",
    buckets=(1024, 4096, 16384, 65536, 131072, 262144, 524288, 1048576),
)
QUEUED_BYTES = Gauge("sluice_ingest_queued_bytes", "Encoded submissions that wait for a commit.")
LIMITED_REQUESTS = Counter(
    "sluice_ingest_limited_requests_total", "Requests refused by a limit of their tenant's.", ["tenant", "reason"]
)
BACKLOG_BYTES = Gauge(
    "sluice_ingest_backlog_bytes",
    "Bytes accepted and not settled yet, over all replicas, as this one knows.",
    ["tenant"],
)
PARKED_LETTERS = Gauge("sluice_ingest_parked_letters", "Letters that wait to go back into their lane.", ["tenant"])
RETURNED_LETTERS = Counter("sluice_ingest_returned_letters_total", "Letters put back into their lane.", ["tenant"])
DISCARDED_RECORDS = Counter(
    "sluice_ingest_discarded_records_total",
    "Parked records that were thrown away: of an earlier provisioning of the tenant, which is gone.",
    ["tenant"],
)
HELD_BYTES = Gauge("sluice_ingest_held_bytes", "Bytes that all requests hold of the process's budget.")
CONNECTIONS = Gauge("sluice_ingest_connections", "Open connections.")
REFUSED_CONNECTIONS = Counter("sluice_ingest_refused_connections_total", "Closed at once: too many were open.")
TENANTS = Gauge("sluice_ingest_tenants", "Tenants known that are not gone.")


def show(gauge: Gauge, before: Iterable[str], now: Mapping[str, int]) -> None:
    """Set a gauge by tenant; those that stood there `before` and have no value now disappear."""
    for tenant_id in before:
        if tenant_id not in now:
            gauge.remove(tenant_id)
    for tenant_id, value in now.items():
        gauge.labels(tenant_id).set(value)


@cache  # one entry a tenant, as the counters themselves have
def accepted_by(tenant_id: str) -> tuple[Counter, Counter]:
    """The counters of a tenant's accepted records and bytes; looking them up by label costs more than counting."""
    return ACCEPTED_RECORDS.labels(tenant_id), ACCEPTED_BYTES.labels(tenant_id)


@cache  # as many as there are reasons
def requests_with(outcome: str) -> Counter:
    """The counter of requests with this outcome."""
    return REQUESTS.labels(outcome)
