"""`sluice dlq replay`: letters back into their tenant's lane, once what was wrong is mended.

Invariant: exit code 0 means that every letter that was asked for was put back.
"""

from pathlib import Path
from typing import Annotated

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
from sluice_cli.letter_replay import Outcome, Replay
from sluice_cli.letter_search import missing, noun_of, subject_of
from sluice_cli.output import plural
from sluice_cli.progress import make_counter
from sluice_cli.session import DEFAULT_DATA, DataDir, Json, Session, TenantArgument, open_rights, run, session_of


def replay(
    context: typer.Context,
    tenant: TenantArgument,
    sequence: Sequences = None,
    parked: Parked = False,
    reason: ReasonOption = None,
    since: Since = None,
    until: Until = None,
    log_id: LogId = None,
    everything: All = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    yes: Yes = False,
    data: DataDir = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Put letters back into the tenant's lane, once what was wrong is mended.

    Records keep their ids and their place in the order of acceptance: what is stored already is not stored twice, and
    a newer record with the same id wins. Each letter is removed once the broker has its records safely in the lane;
    one that cannot be stored now either becomes a dead letter again. Letters of an earlier tenant of the same id stay,
    and so do unreadable ones. Exit code 1 when anything that was asked for was not put back.
    """
    chosen = read_filter(reason, since, until, log_id, sequence or ())
    require_choice(chosen, everything=everything)
    session = session_of(context)
    noun = noun_of(parked)
    plan, last = run(_survey(data, tenant, chosen, parked=parked))
    done = plan
    if plan.replayed.letters and not dry_run:
        what = f"{plural(plan.replayed.letters, noun)} ({plural(plan.replayed.records, 'record')})"
        confirm(f"Put {what} of tenant {tenant} back into lane {plan.lane}?", yes=yes)
        done = run(_replay(session, data, tenant, chosen, plan, last, parked=parked))
    _report_replay(session, tenant, noun, done, dry_run=dry_run, json=json)
    absent = missing(chosen, plan.sequences)
    if done.stopped:
        session.fail(f"stopped after {plural(done.replayed.letters, noun)}: {done.stopped}")
    if absent:
        session.fail(f"tenant {tenant} has no {noun} {absent}")
    if done.stopped or absent or done.obstacles:
        raise typer.Exit(1)


async def _survey(data: Path, tenant_id: str, chosen: LetterFilter, *, parked: bool) -> tuple[Outcome, int]:
    from sluice_core.edge.letters import last_letter

    async with open_rights(data) as rights:
        last = await last_letter(rights.broker)
        return await Replay(rights, tenant_id, subject_of(tenant_id, parked), chosen, last=last).survey(), last


async def _replay(
    session: Session, data: Path, tenant_id: str, chosen: LetterFilter, plan: Outcome, last: int, *, parked: bool
) -> Outcome:
    async with open_rights(data) as rights:
        with make_counter(session.err) as bar:
            task = bar.add_task("replaying", total=len(plan.sequences))
            work = Replay(rights, tenant_id, subject_of(tenant_id, parked), chosen, last=last)
            return await work.run(lambda: bar.advance(task))


def _report_replay(session: Session, tenant: str, noun: str, outcome: Outcome, *, dry_run: bool, json: bool) -> None:
    left = {obstacle.name.lower(): count for obstacle, count in outcome.obstacles.items()}
    if json:
        session.json(
            {
                "tenant": tenant,
                "lane": outcome.lane,
                "dry_run": dry_run,
                "replayed": outcome.replayed.letters,
                "records": outcome.replayed.records,
                "left": left,
                "stopped": outcome.stopped,
            }
        )
        return
    verb = "would be put back" if dry_run else "put back"
    counts = f"{plural(outcome.replayed.letters, noun)} ({plural(outcome.replayed.records, 'record')})"
    session.say(f"{counts} {verb}" + (f" into lane {outcome.lane}" if outcome.replayed.letters else ""))
    for obstacle, count in outcome.obstacles.items():
        session.say(f"{plural(count, noun)} {obstacle.value} {'stays' if count == 1 else 'stay'} where {_it(count)}")
    if outcome.replayed.letters and not dry_run:
        session.note(f"See what became of them: `sluice logs {tenant}`, and `sluice dlq list {tenant} --since 5m`.")


def _it(count: int) -> str:
    return "it is" if count == 1 else "they are"
