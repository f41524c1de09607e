"""`python -m sluice_operator`: the operator. Settings come from the environment, see `settings.py`."""

import argparse
import asyncio
import os
import sys

from sluice_core.errors import SettingsError, SluiceError
from sluice_core.settings import read_settings
from sluice_core.telemetry import configure_logging
from sluice_operator.release import release
from sluice_operator.runtime import operate
from sluice_operator.settings import OperatorSettings, check_settings


def main() -> int:
    """Exit code 0 after a clean stop, 1 after giving up, 2 for wrong settings or arguments."""
    arguments = _parser().parse_args()
    try:
        settings = read_settings(OperatorSettings, os.environ)
        check_settings(settings)
    except SettingsError as error:
        sys.stderr.write(f"sluice-operator: {error}\n")
        return 2
    if arguments.command == "release":
        return _release(settings, arguments.tenant)
    configure_logging("operator", settings.log_level)
    return asyncio.run(operate(settings))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sluice_operator",
        description="Runs the operator until it is told to stop, or does one thing for an administrator.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    releasing = commands.add_parser(
        "release", help="let whoever claims a retained tenant id next have it, with the database that was kept"
    )
    releasing.add_argument("tenant", metavar="ID", help="tenant id")
    return parser


def _release(settings: OperatorSettings, tenant_id: str) -> int:
    try:
        asyncio.run(release(settings, tenant_id))
    except SluiceError as error:
        sys.stderr.write(f"sluice-operator: {error}\n")
        return 1
    sys.stdout.write(f"tenant id {tenant_id} is released: the next Tenant that names it gets its database\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
