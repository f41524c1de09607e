"""The operator's metrics. Labels are kinds and reasons of our own vocabulary, never names of tenants."""

from prometheus_client import Counter, Gauge, Histogram

RECONCILE_SECONDS = Histogram(
    "sluice_operator_reconcile_seconds",
    "Time to look at a Tenant (look) or remove it (delete).",
    ["what"],
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100),
)
ERRORS = Counter("sluice_operator_errors_total", "Looks that left something undone, by reason.", ["reason"])
DRIFT = Counter("sluice_operator_drift_repairs_total", "What was gone or changed and was put right, by kind.", ["kind"])
TENANTS = Gauge("sluice_operator_tenants", "Tenants by condition and its status.", ["condition", "status"])
SWEPT = Counter("sluice_operator_swept_total", "Claims and lanes that were nobody's and were retired.")
LAST_TIMER = Gauge("sluice_operator_last_timer_timestamp_seconds", "When a timer last looked at a Tenant.")
