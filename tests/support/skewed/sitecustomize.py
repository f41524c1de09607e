"""On the PYTHONPATH of a part: its wall clock is off by the seconds in a file, which a test may change meanwhile.

Python imports a module of this name by itself at each start (docs.python.org, module `site`). The monotonic clock, by
which everything waits, is none of a jump's business.
"""

import importlib
import os
import sys
import time
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

_time, _time_ns = time.time, time.time_ns
_file = Path(os.environ.get("SKEW_FILE", os.devnull))


def _skew() -> int:
    return int(_file.read_text() or 0)


class _Skewed(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return datetime.now(tz) + timedelta(seconds=_skew())


time.time = lambda: _time() + _skew()
time.time_ns = lambda: _time_ns() + _skew() * 1_000_000_000

if "sluice_worker" in sys.orig_argv:
    for name in ("loop", "preparation"):
        importlib.import_module(f"sluice_worker.{name}").datetime = _Skewed  # type: ignore[attr-defined]
