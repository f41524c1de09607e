"""The command `sluice doctor`: look, judge, say.

Invariant: exit code 0 means that no problem was found; warnings alone are not one.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.text import Text

from sluice_cli.output import plural, printable
from sluice_cli.session import DEFAULT_DATA, DataDir, Json, Session, run, session_of

if TYPE_CHECKING:
    from sluice_cli.doctor.finding import Finding

_STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}


def doctor(context: typer.Context, data: DataDir = DEFAULT_DATA, json: Json = False) -> None:
    """Look whether everything is as it should be, and say what mends what is not.

    Looks at versions, disks and permissions; whether the broker flushes before it acknowledges; streams, consumers and
    the bucket of tenants against their definitions and the registry; each tenant's database, retention, users and
    rights; ingest and workers and their signs of life; clocks; backlogs, parked records and dead letters. Changes
    nothing, takes a few seconds, and shows no secret.

    Each finding is **ok**, a **warning** (it works, and somebody should know) or a **problem**; what is not ok comes
    with the command that mends it. Exit code 1 when there is a problem, 0 otherwise.
    """
    session = session_of(context)
    findings = run(_examine(data))
    counts = {level: sum(finding.level == level for finding in findings) for level in _STYLES}
    if json:
        session.json(
            {
                "ok": not counts["problem"],
                "problems": counts["problem"],
                "warnings": counts["warning"],
                "findings": findings,
            }
        )
    else:
        for finding in findings:
            _show(session, finding)
        session.say(f"{plural(counts['problem'], 'problem')}, {plural(counts['warning'], 'warning')}")
    if counts["problem"]:
        raise typer.Exit(1)


async def _examine(data: Path) -> "list[Finding]":
    from sluice_cli.doctor.broker import check_broker, check_parts
    from sluice_cli.doctor.gather import gather
    from sluice_cli.doctor.machine import check_disks, check_machine, check_monitor
    from sluice_cli.doctor.tenants import check_bucket, check_letters, check_store

    facts = await gather(data)
    checks = (
        check_machine,
        check_broker,
        check_monitor,
        check_disks,
        check_store,
        check_bucket,
        check_parts,
        check_letters,
    )
    return [finding for check in checks for finding in check(facts)]


def _show(session: Session, finding: "Finding") -> None:
    head = Text.assemble((f"{finding.level:<8}", _STYLES[finding.level]), " ", f"{finding.about:<9}", " ")
    session.out.print(head + Text(printable(finding.sentence)), soft_wrap=True)
    if finding.fix:
        session.out.print(Text(f"{'':<19}mend it: {printable(finding.fix)}", style="dim"), soft_wrap=True)
