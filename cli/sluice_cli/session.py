"""What every command is given: the environment, the two ways to speak, and how to run what is asynchronous.

Invariant: results go to standard output, everything else to standard error; after SIGINT or SIGTERM everything that was
opened is closed in order before the command ends.
"""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
import typer
from rich.console import Console, RenderableType
from rich.text import Text

from sluice_core.errors import SluiceError

if TYPE_CHECKING:
    from sluice_local.endpoints import Endpoints
    from sluice_local.operator_rights import OperatorRights

T = TypeVar("T")

DataDir = Annotated[Path, typer.Option("--data", metavar="DIR", help="Data directory of the stack that `up` runs.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
TenantArgument = Annotated[str, typer.Argument(metavar="TENANT", help="Tenant id.", show_default=False)]
DEFAULT_DATA = Path(".sluice")

_WIDE = 200
"""Columns of tables that nobody looks at: a pipe or a file should get whole lines."""


class Interrupted(Exception):
    """A signal ended the command, after everything was put in order."""

    def __init__(self, number: int) -> None:
        super().__init__("interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}")
        self.number = number


class Session:
    """One run of the command."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.out = Console(width=None if sys.stdout.isatty() else _WIDE)
        self.err = Console(stderr=True, width=None if sys.stderr.isatty() else _WIDE)

    def say(self, text: str = "") -> None:
        """One line of the result, as it is."""
        self.out.print(Text(text), soft_wrap=True)

    def note(self, text: str) -> None:
        """One line about what is going on."""
        self.err.print(Text(text), soft_wrap=True)

    def fail(self, sentence: str, log_tail: str = "") -> None:
        """What went wrong, and the end of the log that shows it."""
        self.err.print(Text.assemble(("error: ", "bold red"), sentence), soft_wrap=True)
        if log_tail:
            self.err.print(Text(f"\nLast lines of its log:\n{log_tail}", style="dim"), soft_wrap=True)

    def show(self, renderable: RenderableType) -> None:
        """A table, or anything else that rich draws."""
        self.out.print(renderable)

    def json(self, value: Any, *, line: bool = False) -> None:
        """A value as JSON: indented, or `line` for one of many."""
        encoded = msgspec.json.encode(value)
        self.out.file.write((encoded if line else msgspec.json.format(encoded)).decode() + "\n")
        self.out.file.flush()


def session_of(context: typer.Context) -> Session:
    """The session of a command's context."""
    session = context.obj
    assert isinstance(session, Session)  # noqa: S101 - `main` put it there
    return session


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's asynchronous part in this thread.

    Raises Interrupted after SIGINT or SIGTERM; of several errors at once the first one of ours.
    """
    try:
        return asyncio.run(_guard(work))
    except BaseExceptionGroup as group:
        raise first_error(group) from None


async def _guard(work: Coroutine[Any, Any, T]) -> T:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - inside a coroutine there is one
    received: list[int] = []

    def interrupt(number: int) -> None:
        received.append(number)
        task.cancel()

    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, interrupt, int(name))
    try:
        return await work
    except asyncio.CancelledError:
        if received:
            raise Interrupted(received[0]) from None
        raise


def first_error(error: BaseException) -> BaseException:
    """Of errors that happened together the first one of ours, else the first; an error alone is itself."""
    leaves = _leaves(error)
    return next((leaf for leaf in leaves if isinstance(leaf, SluiceError)), leaves[0])


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]


def find_endpoints(data_dir: Path) -> "Endpoints":
    """Where the stack on `data_dir` answers. Raises LocalStackError when none is ready."""
    from sluice_local.endpoints import Endpoints
    from sluice_local.errors import LocalStackError

    endpoints = Endpoints.load(data_dir)
    if endpoints is None:
        raise LocalStackError(f"no stack is ready on {data_dir}: start one with `sluice up`, or name another by --data")
    return endpoints


@asynccontextmanager
async def open_rights(data_dir: Path) -> "AsyncIterator[OperatorRights]":
    """The operator's rights on the running stack. Raises LocalStackError when none runs."""
    find_endpoints(data_dir)
    from sluice_local.operator_rights import operator_rights

    async with operator_rights(data_dir) as rights:
        yield rights
