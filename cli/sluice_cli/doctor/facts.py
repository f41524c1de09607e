"""What was found, before anybody judges it. Plain values only.

Invariant: no secret is among the facts.
"""

from pathlib import Path
from typing import Any

import msgspec

from sluice_core.edge.inspection import BrokerFacts, StoreFacts
from sluice_core.edge.registry import Claim
from sluice_core.heartbeat import Heartbeat


class PathFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A file or directory of the data directory."""

    path: Path
    mode: int
    """Permission bits."""
    ours: bool
    """Whether it belongs to the user who asks."""


class DiskFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Where a server keeps its data."""

    path: Path
    free: int
    """Bytes that we may still write there."""


class MachineFacts(msgspec.Struct, frozen=True, kw_only=True):
    """This machine and the data directory."""

    data: Path
    python: tuple[int, int, int]
    sluice: str
    known: bool
    """Whether a stack ever ran on the data directory."""
    running: bool
    """Whether one says that it is ready there."""
    paths: tuple[PathFacts, ...] = ()
    broker_disk: DiskFacts | None = None
    store_disk: DiskFacts | None = None


class MonitorFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the broker's monitoring says of JetStream."""

    sync_always: bool | None
    """None: it does not say."""
    max_storage: int
    """Bytes all streams together may hold."""
    reserved: int
    """Bytes the streams' limits add up to."""


class PartFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A process of Sluice's own."""

    name: str
    """`ingest`, or `worker-<lane>`."""
    url: str
    ready: bool


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything."""

    machine: MachineFacts
    broker: BrokerFacts | str
    """In place of what could not be looked at stands the reason, here and below."""
    store: StoreFacts | str
    monitor: MonitorFacts | str
    claims: dict[str, Claim]
    """The registry, by tenant id."""
    moving: frozenset[str] = frozenset()
    """Tenants that somebody changed while we looked: nothing is said of them."""
    streams: dict[str, dict[str, Any]] = {}
    """The streams there should be, by name."""
    consumer: dict[str, Any] = {}
    """What each lane's consumer should be."""
    parts: tuple[PartFacts, ...] = ()
    heard: tuple[Heartbeat, ...] = ()

    def living(self) -> list[Claim]:
        """The tenants that should have everything, as far as nobody is changing them."""
        return [
            claim
            for claim in self.claims.values()
            if claim.state == "Active" and claim.config is not None and claim.id not in self.moving
        ]
