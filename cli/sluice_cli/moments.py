"""Times as people write them on a command line. Pure.

Invariant: what is read has a time zone, so that it can be compared with any other.
"""

import re
from datetime import UTC, datetime, timedelta

import typer

FORMS = "90s, 10m, 2h, 7d, or an RFC 3339 time"

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_AGE = re.compile(r"(\d{1,9})([smhd])")


def read_moment(value: str, now: datetime) -> datetime:
    """The time that `10m` ago was, or the one given. Raises ValueError, OverflowError."""
    if match := _AGE.fullmatch(value):
        return now - timedelta(seconds=int(match[1]) * _UNITS[match[2]])
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(f"{value} is neither an age like 90s, 10m, 2h, 7d nor an RFC 3339 time") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def moment_option(value: str | None, option: str, now: datetime) -> datetime | None:
    """The value of an option that may be left out; a usage error where it is no time."""
    if value is None:
        return None
    try:
        return read_moment(value, now)
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
