"""`python -m sluice_operator`: the operator. Settings come from the environment, see `settings.py`."""

import asyncio
import os
import sys

from sluice_core.errors import SettingsError
from sluice_core.settings import read_settings
from sluice_core.telemetry import configure_logging
from sluice_operator.runtime import operate
from sluice_operator.settings import OperatorSettings, check_settings


def main() -> int:
    """Exit code 0 after a clean stop, 1 after giving up, 2 for wrong settings."""
    try:
        settings = read_settings(OperatorSettings, os.environ)
        check_settings(settings)
    except SettingsError as error:
        sys.stderr.write(f"sluice-operator: {error}\n")
        return 2
    configure_logging("operator", settings.log_level)
    return asyncio.run(operate(settings))


if __name__ == "__main__":
    sys.exit(main())
