"""Signs of life: what ingest processes and workers tell each other twice a second.

Counters are sums since the process began, so a lost heartbeat loses nothing that the next one does not say again.
Invariant: a heartbeat is enough to act on by itself; nobody needs the ones before it.
"""

import msgspec

HEARTBEAT_SECONDS = 0.5
LIVE_SECONDS = 3.0
"""Silent for longer, a process counts as gone."""


class Volume(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How much, by both measures of a limit."""

    records: int
    size: int
    """Encoded bytes of the submissions."""


class IngestHeartbeat(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="ingest"):
    """What one ingest process says."""

    instance: str
    """Another one after every start."""
    number: int
    """Counts up from 1."""
    seen: int
    """Sequence in the tenants bucket up to which this process has read."""
    accepted: dict[str, Volume] = {}
    """What got a 202 since the process began, of the tenants for whom that has changed lately."""
    enqueued: dict[str, int] = {}
    """Bytes put into the lane since the process began, of the same tenants: accepted and not buffered, or returned."""
    stopping: bool = False


class WorkerHeartbeat(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="worker"):
    """What one worker says."""

    instance: str
    number: int
    seen: int
    lane: str
    settled: dict[str, int] = {}
    """Bytes settled since the process began, of the tenants for whom that has changed lately."""
    refusing: list[str] = []
    """Tenants whose database does not take records now."""
    idle: bool = False
    """It holds nothing, and nothing waits at the broker."""
    stopping: bool = False


Heartbeat = IngestHeartbeat | WorkerHeartbeat

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Heartbeat)


def encode_heartbeat(heartbeat: Heartbeat) -> bytes:
    """The form on the wire."""
    return _encoder.encode(heartbeat)


def decode_heartbeat(data: bytes) -> Heartbeat:
    """Read a heartbeat.

    Raises msgspec.DecodeError for anything else.
    """
    heartbeat: Heartbeat = _decoder.decode(data)
    return heartbeat
