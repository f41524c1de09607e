"""What a connection can be waiting for, and for how long.

Invariant: every wait has an end, but for the one that is ours: whoever answers a request has limits of its own.
"""

from enum import Enum, auto
from typing import NamedTuple

LINGER_SECONDS = 2.0
"""What comes after a refusal is read for so long and thrown away, so that the refusal is not lost to a reset."""
_FLUSH_SECONDS = 5.0


class Rules(NamedTuple):
    """What holds for all connections of a process; times in seconds."""

    max_connections: int
    header_timeout: float
    """From the connection, or a request's first byte, to the end of its headers."""
    idle_timeout: float
    """Between two requests."""
    answer_timeout: float
    """For an answer to be read."""


class Wait(Enum):
    """What goes on at a connection."""

    NEW = auto()
    """Nothing yet."""
    HEAD = auto()
    """The headers of a request are coming."""
    ANSWER = auto()
    """A request is to be answered."""
    IDLE = auto()
    """Nothing, between two requests."""
    UNREAD = auto()
    """An answer is not being read."""
    LINGER = auto()
    """It was refused, and is to read that."""
    CLOSING = auto()
    """It closes, and something is still unsent."""


def longest(wait: Wait, rules: Rules) -> float | None:
    """Seconds it may go on; None: for as long as it takes."""
    match wait:
        case Wait.NEW | Wait.HEAD:
            return rules.header_timeout
        case Wait.ANSWER:
            return None
        case Wait.IDLE:
            return rules.idle_timeout
        case Wait.UNREAD:
            return rules.answer_timeout
        case Wait.LINGER:
            return LINGER_SECONDS
        case Wait.CLOSING:
            return _FLUSH_SECONDS
