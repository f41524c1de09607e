"""Our own logs: one JSON object a line, to standard error.

Invariant: an exception appears as its class and the places it passed, never with its message: messages of libraries
quote what they choked on, and that may be log text or a secret. Only our own errors' sentences are printed.
"""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime

import msgspec

from sluice_core.errors import SluiceError

_encoder = msgspec.json.Encoder(enc_hook=lambda value: type(value).__name__)
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object; `extra=` becomes fields."""

    def __init__(self, part: str) -> None:
        super().__init__()
        self._part = part

    def format(self, record: logging.LogRecord) -> str:
        """The line without its newline."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "part": self._part,
            "logger": record.name,
            # asyncio goes on with representations of tasks, and those quote their exceptions.
            "message": record.getMessage().partition("\n")[0] if record.name == "asyncio" else record.getMessage(),
        }
        line.update({name: value for name, value in vars(record).items() if name not in _STANDARD})
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = describe(record.exc_info[1])
            frames = traceback.extract_tb(record.exc_info[2])
            line["at"] = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames[-8:]]
        try:
            return _encoder.encode(line).decode()
        except (UnicodeEncodeError, TypeError, ValueError):  # a lone surrogate, or keys that are no strings
            return json.dumps(line, skipkeys=True, default=lambda value: type(value).__name__)


def describe(error: BaseException) -> str:
    """An exception in words that are safe to log."""
    name = type(error).__name__
    return f"{name}: {error}" if isinstance(error, SluiceError) else name


def configure_logging(part: str, level: str = "INFO") -> None:
    """Send all logging of this process to standard error in our form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(part))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # They log peers' addresses or full tracebacks with messages; their callbacks are ours instead.
    for name in ("nats", "uvicorn.error", "pymongo", "httpx"):
        logging.getLogger(name).setLevel(logging.WARNING)
