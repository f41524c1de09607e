"""Quantiles, everywhere in the same way."""

from collections.abc import Sequence


def quantile(values: Sequence[float], q: float) -> float:
    """The value below which the share `q` of them lies: one of them, never one between two."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * q), len(ordered) - 1)]
