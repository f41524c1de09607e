"""What a worker counts. Label values are tenant ids and reason codes: never anything a record brought."""

from prometheus_client import Counter, Gauge, Histogram

SETTLED = Counter(
    "sluice_worker_records_total", "Records that are finished, by what became of them.", ["tenant", "reason"]
)
REDACTIONS = Counter("sluice_worker_redactions_total", "Places blotted out, by detector.", ["tenant", "detector"])
ENVELOPES = Counter("sluice_worker_envelopes_total", "Messages finished and acknowledged.")
REDELIVERED = Counter("sluice_worker_redelivered_total", "Messages that had been delivered before.")
RETRIES = Counter("sluice_worker_retries_total", "Writes tried again, by what did not take them.", ["target"])
PARKED = Counter(
    "sluice_worker_parked_total", "Records parked, by what their tenant's database answered.", ["tenant", "detail"]
)
DEFERRED = Counter(
    "sluice_worker_deferred_total", "Messages put off, since no more of the tenant's may be set aside.", ["tenant"]
)
CIRCUITS_OPEN = Gauge("sluice_worker_circuits_open", "Tenants whose database refuses, and is asked now and then only.")
SUSPECTS = Gauge(
    "sluice_worker_suspects", "Records on which a process of this worker ended, and that were not tried alone yet."
)
IN_FLIGHT_BYTES = Gauge("sluice_worker_in_flight_bytes", "About the memory of what is pulled and not finished.")
WRITE_RECORDS = Histogram(
    "sluice_worker_write_records",
    "Records of one tenant written together.",
    buckets=(1, 4, 16, 64, 256, 1024, 4096, 16384),
)
ACCEPT_TO_STORE = Histogram(
    "sluice_worker_accept_to_store_seconds",
    "Time from a submission's receipt until the last of its records was settled, by two clocks.",
    # Each a quarter above the one before, so that quantiles read from them are good to about a tenth.
    buckets=[round(0.001 * 1.25**step, 6) for step in range(58)],
)
