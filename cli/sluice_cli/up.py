"""`sluice up`: the whole of Sluice on this machine, until Ctrl-C.

Invariant: what it started has stopped when it ends, and what was accepted is there at the next start.
"""

import asyncio
import logging
import os
import shutil
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sluice_cli import up_view
from sluice_cli.manifests import TenantFiles, load_files
from sluice_cli.session import DEFAULT_DATA, DataDir, Session, first_error, run, session_of
from sluice_core.tenant import Tenant, TenantSpec

if TYPE_CHECKING:
    from sluice_local.embedded import EmbeddedStack

DEMO_TENANT = "demo"
_POLL_SECONDS = 0.25


class Auth(StrEnum):
    """Who may send."""

    KEYS = "keys"
    NONE = "none"


def up(
    context: typer.Context,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of ingest on 127.0.0.1; 0 takes any free one.")
    ] = 8080,
    data: DataDir = DEFAULT_DATA,
    file: TenantFiles = [],  # noqa: B006 - typer's way to say none
    auth: Annotated[
        Auth, typer.Option(help="`none` needs no keys and makes a tenant when a record first names it.")
    ] = Auth.KEYS,
) -> None:
    """Start everything on this machine: broker, database, ingest and workers.

    Shows each part's health, a curl command to try, and how to read the line back. A tenant `demo` is made when no
    file is given. Data and tenants are kept in the data directory; a part that dies is started again; Ctrl-C stops
    everything in order. DIR/endpoints.json tells scripts where everything is, while it is ready.
    """
    session = session_of(context)
    run(_up(session, port, data, load_files(file), auth))


async def _up(session: Session, port: int, data: Path, given: Sequence[Tenant], auth: Auth) -> None:
    from sluice_local.embedded import EmbeddedStack
    from sluice_local.errors import PortTakenError

    tenants = list(given) or _demo_tenant(data)
    stack = EmbeddedStack(data, environ=session.environ, port=port, auth=auth.value, tenants=tenants)
    session.say(f"Starting Sluice on {data} ...")
    try:
        async with showing_stages(session, stack), stack:
            await _show(session, stack, data, tenants, auth)
            try:
                await _watch(session, stack)
            except asyncio.CancelledError:
                # Asked to stop: that is the normal end, so the cancellation ends here.
                task = asyncio.current_task()
                if task is not None:
                    task.uncancel()
            session.say("Stopping: ingest first, the database last ...")
    except (PortTakenError, BaseExceptionGroup) as error:
        cause = first_error(error)
        if isinstance(cause, PortTakenError) and str(cause).startswith(f"port {port},"):
            raise PortTakenError(f"{cause}, or choose another port with --port") from None
        raise
    session.say(f"Stopped. Everything accepted is kept in {data}; `sluice up` goes on with it.")


def _demo_tenant(data: Path) -> list[Tenant]:
    """The tenant for somebody who has none; never again once it is there, which would take its added keys away."""
    from sluice_local.secrets import FileSecrets

    if FileSecrets(data).load(DEMO_TENANT) is not None:
        return []
    return [Tenant("default", DEMO_TENANT, DEMO_TENANT, TenantSpec())]


async def _show(session: Session, stack: "EmbeddedStack", data: Path, applied: Sequence[Tenant], auth: Auth) -> None:
    session.show(up_view.health_table(await health(stack)))
    endpoints = stack.endpoints
    tenants = {tenant_id: access.key for tenant_id, access in endpoints.tenants.items()}
    chosen = next((tenant.tenant_id for tenant in applied), DEMO_TENANT if DEMO_TENANT in tenants else None)
    chosen = chosen or next(iter(sorted(tenants)), None)
    lines = up_view.summary(endpoints.ingest, data, tenants, chosen, keys=auth is Auth.KEYS, program=_program(session))
    for line in lines:
        session.say(line)


def _program(session: Session) -> str:
    """How this command is called here: in a virtual environment that is not active, `sluice` alone is not found."""
    on_path = shutil.which("sluice", path=session.environ.get("PATH"))
    return "sluice" if on_path else os.path.relpath(sys.argv[0])


async def health(stack: "EmbeddedStack") -> list[up_view.PartHealth]:
    """Ask every part how it is."""
    from sluice_local.probes import accepts_connections, answers_ok

    ports = stack.servers.ports
    parts = [stack.ingest, *stack.workers.values()]
    asked = [
        (stack.servers.nats, ports.nats_url, answers_ok(ports.nats_monitor, "/healthz")),
        (stack.servers.mongod, f"mongodb://{ports.mongodb_host}", accepts_connections(ports.mongod)),
        *((part, part.url, answers_ok(part.port, "/readiness")) for part in parts),
    ]
    found: list[up_view.PartHealth] = []
    for server, address, probe in asked:
        try:
            ready = await probe()
        except (OSError, EOFError):
            ready = False
        process = server.process
        found.append(up_view.PartHealth(server.name, ready, process.pid, address, _shorter(process.log)))
    return found


async def _watch(session: Session, stack: "EmbeddedStack") -> None:
    """Say what happens to the parts, until cancelled."""
    known = stack.endpoints.pids
    while True:
        await asyncio.sleep(_POLL_SECONDS)
        now = stack.endpoints.pids
        for line in up_view.pid_changes(known, now):
            session.say(line)
        known = now


@asynccontextmanager
async def showing_stages(session: Session, stack: "EmbeddedStack") -> AsyncIterator[None]:
    """Say on standard error how far the stack's start is, and what it warns of, while the context lasts."""

    async def follow() -> None:
        # The stack gets each of these when the stage before is through.
        stages = [
            ("servers", "broker and database are starting"),
            ("rights", "broker and database are ready; tenants are provisioned"),
            ("ingest", "ingest and workers are starting"),
        ]
        for attribute, text in stages:
            while not hasattr(stack, attribute):
                await asyncio.sleep(0.02)
            session.note(text)

    handler = _Notes(session)
    stack_log = logging.getLogger("sluice_local")
    stack_log.addHandler(handler)
    stages = asyncio.create_task(follow())
    try:
        yield
    finally:
        stages.cancel()
        stack_log.removeHandler(handler)


class _Notes(logging.Handler):
    """The stack's warnings, as notes."""

    def __init__(self, session: Session) -> None:
        super().__init__(logging.WARNING)
        self._session = session

    def emit(self, record: logging.LogRecord) -> None:
        """Show one warning."""
        self._session.note(up_view.warning_text(record))


def _shorter(path: Path) -> Path:
    """The path as seen from here, where that is below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
