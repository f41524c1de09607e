"""On the PYTHONPATH of a worker: a text with the mark in it ends the process, as a bug in native code would.

Python imports a module of this name by itself at each start (docs.python.org, module `site`).
"""

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

MARK = "\N{SKULL AND CROSSBONES}"

if "sluice_worker" in sys.orig_argv:
    from sluice_redact import Redactor

    _redact = Redactor.redact

    def _dangerous(self: Redactor, texts: Sequence[str]) -> Any:
        if any(MARK in text for text in texts):
            os.kill(os.getpid(), signal.SIGSEGV)
        return _redact(self, texts)

    Redactor.redact = _dangerous  # type: ignore[method-assign]
