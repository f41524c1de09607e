"""How long and how often to measure, for all benches of a run."""

from collections.abc import Sequence

import msgspec


class Options(msgspec.Struct, frozen=True, kw_only=True):
    lines: Sequence[str]
    """What is sent."""
    seconds: float
    """Of one measurement of accepting."""
    records: int
    """Backlog that workers are given."""
    repeats: int
    tenants: Sequence[int]
    """How many share a lane, in turn."""
    workers: Sequence[int]
    """How many processes drain a lane, in turn."""
