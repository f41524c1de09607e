"""`sluice dlq purge`: letters thrown away for good.

Invariant: only letters that were there, and counted, when it was asked are thrown away.
"""

from pathlib import Path

import typer

from sluice_cli.confirm import Yes, confirm
from sluice_cli.letter_filter import (
    All,
    LetterFilter,
    LogId,
    Parked,
    ReasonOption,
    Sequences,
    Since,
    Until,
    read_filter,
    require_choice,
)
from sluice_cli.letter_search import Tally, missing, noun_of, require_known, subject_of
from sluice_cli.output import plural
from sluice_cli.progress import make_counter
from sluice_cli.session import DEFAULT_DATA, DataDir, Json, Session, TenantArgument, open_rights, run, session_of


def purge(
    context: typer.Context,
    tenant: TenantArgument,
    sequence: Sequences = None,
    parked: Parked = False,
    reason: ReasonOption = None,
    since: Since = None,
    until: Until = None,
    log_id: LogId = None,
    everything: All = False,
    yes: Yes = False,
    data: DataDir = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Throw letters away for good. Their records were accepted and are stored nowhere else."""
    chosen = read_filter(reason, since, until, log_id, sequence or ())
    require_choice(chosen, everything=everything)
    session = session_of(context)
    noun = noun_of(parked)
    plan, last = run(_find(data, tenant, chosen, parked=parked))
    purged = 0
    if plan.letters:
        what = f"{plural(plan.letters, noun)} ({plural(plan.records, 'record')})"
        confirm(f"Throw {what} of tenant {tenant} away for good?", yes=yes)
        purged = run(_purge(session, data, tenant, chosen, plan, last, parked=parked))
    if json:
        session.json({"tenant": tenant, "purged": purged})
    else:
        session.say(f"{plural(purged, noun)} of tenant {tenant} thrown away")
    if absent := missing(chosen, plan.sequences):
        session.fail(f"tenant {tenant} has no {noun} {absent}")
        raise typer.Exit(1)


async def _find(data: Path, tenant_id: str, chosen: LetterFilter, *, parked: bool) -> tuple[Tally, int]:
    from sluice_core.edge.letters import last_letter, walk_letters

    tally = Tally()
    async with open_rights(data) as rights:
        await require_known(rights, tenant_id)
        last = await last_letter(rights.broker)
        async for stored in walk_letters(rights.broker, subject_of(tenant_id, parked), last=last):
            if chosen.takes(stored):
                tally.take(stored)
    return tally, last


async def _purge(
    session: Session, data: Path, tenant_id: str, chosen: LetterFilter, plan: Tally, last: int, *, parked: bool
) -> int:
    from sluice_core.edge.letters import purge_letters, remove_letter

    async with open_rights(data) as rights:
        if not chosen.narrows:
            return await purge_letters(rights.broker, subject_of(tenant_id, parked), last=last)
        removed = 0
        with make_counter(session.err) as bar:
            for sequence in bar.track(sorted(plan.sequences), description="purging"):
                removed += await remove_letter(rights.broker, sequence)
        return removed
