"""The real servers with other settings than ours: what happens then shows that a test would notice.

Each is a program of its own, for the variable that names it (`sluice_local.binaries`).
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sluice_local import binaries
from support.sluice import ENVIRON

_PROGRAM = """#!{python} -IS
import json, os, sys
arguments, changes = sys.argv[1:], json.loads({changes!r})
if "-c" in arguments:
    place = arguments.index("-c") + 1
    with open(arguments[place]) as file:
        config = json.load(file)
    for name, value in changes.items():
        config[name] = {{**config[name], **value}} if isinstance(config.get(name), dict) else value
    arguments[place] += ".altered"
    with open(os.open(arguments[place], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(config, file)
if "--version" not in arguments:
    arguments += {more!r}
os.execv({binary!r}, [{binary!r}, *arguments])
"""


def altered_broker(folder: Path, changes: Mapping[str, Any], name: str = "nats-server") -> Path:
    """nats-server with these entries of its configuration changed."""
    return _write(folder / f"altered-{name}", binaries.NATS_SERVER, changes, [])


def altered_database(folder: Path, *more: str) -> Path:
    """mongod with these arguments, too."""
    return _write(folder / "altered-mongod", binaries.MONGOD, {}, list(more))


def _write(path: Path, program: binaries.Program, changes: Mapping[str, Any], more: list[str]) -> Path:
    binary = str(binaries.find(program, ENVIRON))
    path.write_text(_PROGRAM.format(python=sys.executable, changes=json.dumps(changes), more=more, binary=binary))
    path.chmod(0o700)
    return path
