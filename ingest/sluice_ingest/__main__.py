"""`python -m sluice_ingest`: the ingest process. Settings come from the environment, see `settings.py`."""

import os
import sys

import uvloop

from sluice_core.allocator import tune_allocator
from sluice_core.collector import tune_collector
from sluice_core.errors import SettingsError
from sluice_core.settings import read_settings
from sluice_core.telemetry import configure_logging
from sluice_ingest.server import raise_file_limit, serve
from sluice_ingest.settings import IngestSettings, check_settings


def main() -> int:
    """Exit code 0 after a clean stop, 1 after giving up, 2 for wrong settings."""
    try:
        settings = read_settings(IngestSettings, os.environ)
        check_settings(settings)
    except SettingsError as error:
        sys.stderr.write(f"sluice-ingest: {error}\n")
        return 2
    configure_logging("ingest", settings.log_level)
    raise_file_limit()
    tune_allocator()
    tune_collector()
    return uvloop.run(serve(settings))


if __name__ == "__main__":
    sys.exit(main())
