"""`python -m sluice_worker`: a worker process. Settings come from the environment, see `settings.py`."""

import os
import sys

import uvloop

from sluice_core.allocator import tune_allocator
from sluice_core.collector import tune_collector
from sluice_core.errors import SettingsError
from sluice_core.settings import read_settings
from sluice_core.telemetry import configure_logging
from sluice_worker.process import work
from sluice_worker.settings import WorkerSettings


def main() -> int:
    """Exit code 0 after a clean stop, 1 after giving up, 2 for wrong settings."""
    try:
        settings = read_settings(WorkerSettings, os.environ)
    except SettingsError as error:
        sys.stderr.write(f"sluice-worker: {error}\n")
        return 2
    configure_logging("worker", settings.log_level)
    tune_allocator()
    tune_collector()
    return uvloop.run(work(settings))


if __name__ == "__main__":
    sys.exit(main())
