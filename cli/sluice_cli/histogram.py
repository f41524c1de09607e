"""Quantiles from a Prometheus histogram, read from a part's metrics page. Pure.

Invariant: an estimate lies inside the bucket that the quantile falls into.
"""

import math

from prometheus_client.parser import text_string_to_metric_families

ACCEPT_TO_STORE = "sluice_worker_accept_to_store_seconds"


def read_buckets(page: str, name: str) -> dict[float, float]:
    """Observations up to each bound, all label values together."""
    buckets: dict[float, float] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name == f"{name}_bucket":
                bound = float(sample.labels["le"])
                buckets[bound] = buckets.get(bound, 0.0) + sample.value
    return buckets


def quantile(buckets: dict[float, float], share: float) -> float | None:
    """The value that `share` of the observations do not exceed, None without any; linear within a bucket."""
    total = buckets.get(math.inf, 0.0)
    if not total:
        return None
    wanted = share * total
    lower, below = 0.0, 0.0
    for bound, count in sorted(buckets.items()):
        if count >= wanted:
            if math.isinf(bound):
                return lower
            return lower + (bound - lower) * (wanted - below) / (count - below)
        lower, below = bound, count
    return lower
