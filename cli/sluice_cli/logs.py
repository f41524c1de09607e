"""`sluice logs`: what is stored, read with the tenant's own rights.

Invariant: only redacted text is read, unless `--original` asks for the other.
"""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from sluice_cli.moments import FORMS, moment_option
from sluice_cli.output import moment_text, printable
from sluice_cli.session import DEFAULT_DATA, DataDir, Json, Session, TenantArgument, find_endpoints, run, session_of

if TYPE_CHECKING:
    from sluice_core.edge.logs import StoredLog


def logs(
    context: typer.Context,
    tenant: TenantArgument,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help=f"Received since: {FORMS}.", show_default=False),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="Most lines, the newest.")] = 100,
    grep: Annotated[
        str | None,
        typer.Option(metavar="REGEX", help="Only lines whose redacted text matches.", show_default=False),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-F", help="Go on with what is stored from now on.")] = False,
    original: Annotated[
        bool, typer.Option("--original", help="Show the text before redaction, where it is kept.")
    ] = False,
    data: DataDir = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Show a tenant's lines, redacted, the newest at the end.

    Reads with the tenant's own read-only user. With --json one object a line.
    """
    session = session_of(context)
    earliest = moment_option(since, "--since", datetime.now(UTC))
    try:
        pattern = None if grep is None else re.compile(grep)
    except re.error as error:
        raise typer.BadParameter(f"not a regular expression: {error}", param_hint="--grep") from None
    reading = _Reading(session, tenant, original=original, json=json, data=data)
    run(reading.run(limit, earliest, pattern, follow=follow))


class _Reading:
    def __init__(self, session: Session, tenant_id: str, *, original: bool, json: bool, data: Path) -> None:
        from sluice_core.edge.logs import TenantLogs
        from sluice_core.errors import TenantNotFound

        access = find_endpoints(data).tenants.get(tenant_id)
        if access is None or not access.mongodb:
            raise TenantNotFound(f"there is no tenant {tenant_id}: `sluice tenants list` shows those there are")
        self._session = session
        self._logs = TenantLogs(access.mongodb, tenant_id, original=original)
        self._json = json

    async def run(self, limit: int, since: datetime | None, pattern: re.Pattern[str] | None, *, follow: bool) -> None:
        try:
            start = await self._logs.now() if follow else None
            shown = await self._logs.latest(limit=limit, since=since, pattern=pattern.pattern if pattern else None)
            for line in shown:
                self._show(line)
            if not follow:
                if not shown:
                    self._session.note("no lines")
                return
            known = {line.log_id for line in shown}
            async for line in self._logs.follow(start):
                # What was stored between the two questions is the answer to both.
                if line.log_id not in known and (pattern is None or pattern.search(line.modified_data)):
                    self._show(line)
        finally:
            self._logs.close()

    def _show(self, line: "StoredLog") -> None:
        if self._json:
            self._session.json(line, line=True)
        else:
            self._session.out.print(line_text(line), soft_wrap=True)


def line_text(line: "StoredLog") -> Text:
    """One stored line for a person: when, how it came, what it says."""
    text = printable(line.original_text if isinstance(line.original_text, str) else line.modified_data)
    return Text.assemble((moment_text(line.timestamp), "dim"), "  ", (line.source, "cyan"), "  ", text)
