"""`sluice dlq`: records that could never be stored, for a person to look at.

Invariant: a listing never holds text; one record's text is shown redacted with its tenant's policy or not at all.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sluice_cli.output import make_table, moment_text, printable
from sluice_cli.session import DEFAULT_DATA, DataDir, Json, TenantArgument, open_rights, run, session_of
from sluice_core.errors import SluiceError
from sluice_core.names import UNREADABLE
from sluice_redact import Policy, PolicyError, RedactionError, Redactor

if TYPE_CHECKING:
    from sluice_core.edge.dead_letters import StoredDeadLetter
    from sluice_core.envelope import Record

app = typer.Typer(
    help="Look at dead letters: records that can never be stored as they are.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

HIDDEN = "[NOT SHOWN: IT CANNOT BE REDACTED]"


@app.command("list", epilog="Example: sluice dlq list demo --json")
def list_all(
    context: typer.Context,
    tenant: Annotated[
        str | None, typer.Argument(metavar="[TENANT]", help="Tenant id; all tenants without it.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most of each tenant, the oldest first.")] = 100,
    data: DataDir = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """List dead letters: why each is one, and which record it was. Never their text."""
    session = session_of(context)
    letters = run(_list(data, tenant, limit))
    if json:
        session.json([summary(letter) for letter in letters])
        return
    if not letters:
        session.note("no dead letters")
        return
    columns = ["sequence", "tenant", "reason", "log id", "attempts", "received", "detail"]
    rows = [
        (str(letter.sequence), head.tenant_id, head.reason, head.log_id, head.attempts, _received(letter), head.detail)
        for letter in letters
        for head in [letter.letter]
    ]
    session.show(make_table(columns, rows, right=["sequence", "attempts"]))


async def _list(data: Path, tenant_id: str | None, limit: int) -> "list[StoredDeadLetter]":
    from sluice_core.edge.dead_letters import count_dead_letters, list_dead_letters

    async with open_rights(data) as rights:
        if tenant_id is None:
            wanted = list(await count_dead_letters(rights.broker))
        else:
            if tenant_id != UNREADABLE:
                await rights.provisioner.find(tenant_id)
            wanted = [tenant_id]
        return [letter for tenant in wanted for letter in await list_dead_letters(rights.broker, tenant, limit=limit)]


@app.command(epilog="Example: sluice dlq show demo 17")
def show(
    context: typer.Context,
    tenant: TenantArgument,
    sequence: Annotated[int, typer.Argument(min=1, help="Its sequence, as `dlq list` shows it.", show_default=False)],
    data: DataDir = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Show one dead letter with its record, redacted with the tenant's policy of now."""
    session = session_of(context)
    shown = run(_show(data, tenant, sequence))
    if json:
        session.json(shown)
        return
    for name, value in shown.items():
        session.say(f"{name.replace('_', ' ') + ':':<14}{printable(str(value))}")


async def _show(data: Path, tenant_id: str, sequence: int) -> dict[str, Any]:
    from sluice_core.edge.dead_letters import list_dead_letters

    async with open_rights(data) as rights:
        found = await list_dead_letters(rights.broker, tenant_id, after=sequence - 1, limit=1)
        if not found or found[0].sequence != sequence:
            raise SluiceError(
                f"tenant {tenant_id} has no dead letter {sequence}: `sluice dlq list` shows those there are"
            )
        record = found[0].record()
        if record is None:
            return {**summary(found[0]), "payload_bytes": len(found[0].payload)}
        claim = await rights.provisioner.registry.get(tenant_id)
        detectors = claim.config.detectors if claim and claim.config else {}
    return {**summary(found[0]), **redacted_record(record, detectors)}


def summary(letter: "StoredDeadLetter") -> dict[str, Any]:
    """A dead letter without its content."""
    head = letter.letter
    return {
        "sequence": letter.sequence,
        "tenant": head.tenant_id,
        "reason": head.reason,
        "detail": head.detail,
        "log_id": head.log_id,
        "attempts": head.attempts,
        "received_at": _received(letter),
        "dead_since": letter.stored_at,
        "request_id": head.request_id,
        "source": head.source,
        "version": head.version,
    }


def redacted_record(record: "Record", detectors: dict[str, str]) -> dict[str, Any]:
    """A record's content as far as it may be shown: redacted, or a mark where that fails."""
    text: str = HIDDEN
    attributes: Any = HIDDEN
    try:
        redactor = Redactor(Policy(detectors))
        [result] = redactor.redact([record.text])
        if not isinstance(result, RedactionError):
            text = result.text
        attributes, _ = redactor.redact_values(record.attributes or {})
    except (PolicyError, RedactionError):
        pass
    return {"text": text, "attributes": attributes}


def _received(letter: "StoredDeadLetter") -> str:
    micros = letter.letter.received_at
    return moment_text(datetime.fromtimestamp(micros / 1_000_000, UTC)) if micros else "-"
