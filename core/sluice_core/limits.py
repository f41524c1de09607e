"""What one tenant may send: the platform's defaults and the resolved limits of a tenant.

Invariant: a `Limits` that a process uses is complete; what a manifest left out was filled in when it was applied.
"""

import msgspec

KIB = 1024
MIB = 1024 * KIB

ENVELOPE_BYTES = 256 * KIB
"""Target size of one JetStream message; only a single record larger than this makes a larger one."""

MAX_MESSAGE_BYTES = 2 * MIB
"""The broker's `max_payload`: above `max_record_bytes` at its largest, with room for the envelope around it."""

MAX_LOG_ID_BYTES = 256
MAX_ATTRIBUTE_DEPTH = 64
"""BSON allows about 100 levels and MongoDB stops at 180; documents add some of their own."""


class Limits(msgspec.Struct, frozen=True, rename="camel"):
    """The limits of one tenant, in the units of their names."""

    records_per_second: int = 50_000
    bytes_per_second: int = 50 * MIB
    burst_seconds: int = 10
    max_record_bytes: int = 256 * KIB
    """Text and encoded attributes of one record."""
    max_batch_bytes: int = 8 * MIB
    """One request's body, after inflation."""
    max_backlog_bytes: int = 1024 * MIB


DEFAULT_LIMITS = Limits()
