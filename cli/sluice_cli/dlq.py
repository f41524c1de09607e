"""`sluice dlq`: records that were set aside, for a person to look at, put back or throw away.

Invariants: a listing never holds text; and nothing is put back or thrown away that was not asked for and confirmed.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from sluice_cli.dlq_purge import purge
from sluice_cli.dlq_replay import replay
from sluice_cli.dlq_show import LISTED, listed, redacted_records, summary
from sluice_cli.letter_filter import LetterFilter, LogId, Parked, ReasonOption, Since, Until, read_filter
from sluice_cli.letter_search import noun_of, require_known, subject_of
from sluice_cli.output import make_table, printable
from sluice_cli.session import DEFAULT_DATA, DataDir, Json, TenantArgument, open_rights, run, session_of
from sluice_core.errors import SluiceError
from sluice_core.letter import StoredLetter
from sluice_core.names import dead_letter_subject, parked_subject
from sluice_core.tenant import RedactionConfig

app = typer.Typer(
    help="Dead letters are records that cannot be stored as they are: look at them, put them back, throw them away.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

app.command(
    "replay", epilog="Example: sluice dlq replay demo --reason write_refused     Or one: sluice dlq replay demo 17"
)(replay)
app.command("purge", epilog="Example: sluice dlq purge demo --until 30d")(purge)


@app.command("list", epilog="Example: sluice dlq list demo --reason write_refused --since 2h")
def list_all(
    context: typer.Context,
    tenant: Annotated[
        str | None, typer.Argument(metavar="[TENANT]", help="Tenant id; all tenants without it.", show_default=False)
    ] = None,
    parked: Parked = False,
    reason: ReasonOption = None,
    since: Since = None,
    until: Until = None,
    log_id: LogId = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Most of each tenant, the oldest first.")] = 100,
    data: DataDir = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """List dead letters: why each is one, and which record it was. Never their text.

    What is listed under the tenant `_unreadable` are messages from which no tenant could be read.
    """
    session = session_of(context)
    letters = run(_list(data, tenant, read_filter(reason, since, until, log_id), limit, parked=parked))
    if json:
        session.json([summary(letter) for letter in letters])
    elif letters:
        session.show(make_table(LISTED, map(listed, letters), right=["sequence", "records", "attempts"]))
    else:
        session.note(f"no {noun_of(parked)}s")


async def _list(
    data: Path, tenant_id: str | None, chosen: LetterFilter, limit: int, *, parked: bool
) -> list[StoredLetter]:
    from sluice_core.edge.letters import count_letters, walk_letters

    found: list[StoredLetter] = []
    async with open_rights(data) as rights:
        if tenant_id is None:
            subjects = list(await count_letters(rights.broker, subject_of("*", parked)))
        else:
            await require_known(rights, tenant_id)
            subjects = [subject_of(tenant_id, parked)]
        for subject in subjects:
            most = len(found) + limit
            async for letter in walk_letters(rights.broker, subject):
                if chosen.takes(letter):
                    found.append(letter)
                    if len(found) == most:
                        break
    return found


@app.command(epilog="Example: sluice dlq show demo 17")
def show(
    context: typer.Context,
    tenant: TenantArgument,
    sequence: Annotated[int, typer.Argument(min=1, help="Its sequence, as `dlq list` shows it.", show_default=False)],
    limit: Annotated[int, typer.Option(min=1, help="Most of its records, from the first.")] = 20,
    data: DataDir = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Show one letter, dead or parked, with its records, redacted with the tenant's policy of now."""
    session = session_of(context)
    shown = run(_show(data, tenant, sequence, limit))
    if json:
        session.json(shown)
        return
    contents = shown.pop("contents", [])
    for name, value in shown.items():
        session.say(f"{name.replace('_', ' ') + ':':<14}{printable(str(value))}")
    for record in contents:
        session.say()
        for name, value in record.items():
            session.say(f"{name.replace('_', ' ') + ':':<14}{printable(str(value))}")
    if contents and len(contents) < shown["records"]:
        session.note(f"and {shown['records'] - len(contents):,} more: --limit shows more of them")


async def _show(data: Path, tenant_id: str, sequence: int, limit: int) -> dict[str, Any]:
    from sluice_core.edge.letters import list_letters

    async with open_rights(data) as rights:
        for subject in (dead_letter_subject(tenant_id), parked_subject(tenant_id)):
            found = await list_letters(rights.broker, subject, after=sequence - 1, limit=1)
            if found and found[0].sequence == sequence:
                break
        else:
            raise SluiceError(
                f"tenant {tenant_id} has no letter {sequence}: `sluice dlq list {tenant_id}` shows those there are"
            )
        claim = await rights.provisioner.registry.get(tenant_id)
        policy = claim.config.redaction if claim and claim.config else RedactionConfig()
    kind = {"kind": subject.partition(".")[0].replace("dlq", "dead")}
    contents = redacted_records(found[0], policy, limit)
    content = {"payload_bytes": len(found[0].payload)} if contents is None else {"contents": contents}
    return {**summary(found[0]), **kind, **content}
