"""Settings of a worker process; each field is the environment variable `SLUICE_<NAME>`."""

from typing import Annotated, Literal

import msgspec

from sluice_core.limits import MIB
from sluice_core.names import STANDARD_LANE

Seconds = Annotated[float, msgspec.Meta(gt=0)]


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker process is told when it starts."""

    nats_url: str
    nats_user: str = "worker"
    nats_password: str
    mongodb_uri: str
    master_secret: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    """32 bytes in hexadecimal; every tenant's hashing key is derived from it. Losing it makes old duplicates new."""
    lane: str = STANDARD_LANE
    host: str = "0.0.0.0"  # noqa: S104 - Prometheus reaches a pod from outside
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 9090
    """Health and metrics."""
    in_flight_bytes: Annotated[int, msgspec.Meta(ge=4 * MIB)] = 192 * MIB
    """About the memory of what is pulled and not finished. As far as it reaches, some 400,000 lines or a million small
    ones, others find their way past a flood; a container needs four times as much."""
    parallel_writes: Annotated[int, msgspec.Meta(ge=1, le=64)] = 16
    """Tenants written at once; more gains nothing (facts of MongoDB 6.0)."""
    store_timeout: Seconds = 10.0
    """Longest wait for one operation of the database; below half of the lane's acknowledgement wait."""
    shutdown_timeout: Seconds = 10.0
    """Longest wait for what is being written after SIGTERM; what is left is given back."""
    simulated_seconds_per_char: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """Holds each record for this long times its length before it is stored, to show slow processing and scaling."""
    state_dir: str = ""
    """Directory for the note of what native code is working on, by which a record that ends the process is known the
    next time. It should outlive the process, need not outlive the pod, and may be shared by the workers of one lane.
    Empty: no such note."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
