"""Where the command starts: the only place that reads the environment, and the last that sees an error.

Invariant: whatever goes wrong, a person reads one sentence, and a script gets 1 for a failure, 2 for wrong usage, and
128 plus the signal's number after an interruption.
"""

import logging
import os
import sys
from contextlib import suppress

from sluice_cli.app import app
from sluice_cli.session import Interrupted, Session
from sluice_core.errors import SluiceError


def main() -> None:
    """Run the command line of this process, and end the process."""
    logging.basicConfig(handlers=[logging.NullHandler()])
    code = _run(Session(os.environ))
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    # Everything is closed by now, but the database driver's threads would sleep for another half second before they
    # notice, and Python would wait for them.
    os._exit(code)


def _run(session: Session) -> int:
    try:
        app(obj=session)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Interrupted as interrupted:
        session.note(str(interrupted))
        return 128 + interrupted.number
    except SluiceError as error:
        session.fail(str(error), getattr(error, "log_tail", ""))
        return 1
    except Exception as error:
        if os.environ.get("SLUICE_DEBUG"):
            logging.getLogger().addHandler(logging.StreamHandler())
            logging.getLogger(__name__).exception("unexpected")
        name = type(error).__name__
        session.fail(f"something unexpected happened ({name}): set SLUICE_DEBUG=1 to see where, and please report it")
        return 1
    return 0


if __name__ == "__main__":
    main()
