"""Ids that Sluice makes up: of requests, submissions and records without an id of their own.

Invariant: a generated id is either unique (UUIDv7, seeded by the system's random source) or a pure function of what the
sender fixed with an Idempotency-Key; never something in between.
"""

import os
import random
from collections.abc import Callable
from hashlib import sha256
from uuid import UUID

ID_BYTES = 16
_HEAD = len("00000000-0000-0000-0000-")
_TAIL = (1 << 48) - 1
"""The last group of the text form."""

_source = random.Random(int.from_bytes(os.urandom(32)))  # noqa: S311 - ids must differ, they need not be secret


def uuid7(now_ms: int) -> int:
    """A UUIDv7 (RFC 9562) as an integer; `now_ms` is Unix time in milliseconds.

    The highest of the last 62 bits is left zero, so that `uuid7() + index` numbers the records of one request without
    a carry; 73 random bits keep two requests of one millisecond from ever sharing an id.
    """
    bits = _source.getrandbits(73)
    return (now_ms << 80) | (0x7 << 76) | ((bits >> 61) << 64) | (0b10 << 62) | (bits & ((1 << 61) - 1))


def format_id(value: int) -> str:
    """The usual text form of a UUID given as an integer."""
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def count_ids(first: int) -> Callable[[int], str]:
    """What writes the id at a position, counted from `first`; what they share is written once."""
    head = format_id(first)[:_HEAD]
    low = first & _TAIL

    def at(position: int) -> str:
        tail = low + position
        return f"{head}{tail:012x}" if tail <= _TAIL else format_id(first + position)

    return at


def idempotent_id(tenant_id: str, key: str, index: int, content: bytes) -> str:
    """The id of the record at `index` of a body that was sent with an Idempotency-Key.

    Content is part of it, so that a key reused for something else overwrites nothing. A UUIDv8 (RFC 9562: custom).
    """
    digest = sha256(b"\x00".join((tenant_id.encode(), key.encode(), str(index).encode(), content))).digest()
    value = int.from_bytes(digest[:ID_BYTES])
    value = value & ~(0xF << 76) | (0x8 << 76)
    value = value & ~(0b11 << 62) | (0b10 << 62)
    return str(UUID(int=value))
