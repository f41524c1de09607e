"""`sluice demo`: the main job from end to end, on real lines, in one command that ends by itself.

Invariant: exit code 0 means that every line accepted was found stored, exactly once, unchanged, redacted, in its own
tenant's database and in no other; anything else is said in a sentence, with exit code 1.
"""

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sluice_cli.session import Json, Session, run, session_of

if TYPE_CHECKING:
    from sluice_cli.demo_check import Report

SAMPLE = Path(__file__).with_name("examples") / "sample.log"
"""Our own lines, with what is personal in each in the file of labels beside it."""
_PATTERN = "*.log"


def demo(
    context: typer.Context,
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FILE|DIR]...",
            exists=True,
            readable=True,
            help=f"Text files, and directories whose {_PATTERN} files are taken; without any, a sample of our own.",
            show_default=False,
        ),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep the stack's data here, for `sluice up --data DIR`.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Send real lines through the whole of Sluice as two tenants, and verify what became of them.

    Starts a temporary stack on free ports, sends every line of the files as both tenants, waits until all are stored,
    shows what was accepted, stored and redacted and how fast, and checks that each line is there exactly once, in its
    own tenant's database only. Exit code 0 if all of it holds, 1 if not. Nothing is left behind.
    """
    session = session_of(context)
    chosen = find_files(session, files or [SAMPLE])
    report = run(_demo(session, chosen, keep))
    if json:
        session.json(report.as_json())
    else:
        report.show(session)
    if report.failures:
        session.fail("; ".join(report.failures))
        raise typer.Exit(1)


def find_files(session: Session, given: list[Path]) -> list[Path]:
    """The files to send, each once, saying which are left out. A usage error when there are none."""
    chosen: dict[Path, None] = {}
    for path in given:
        if path.is_dir():
            found = sorted(entry for entry in path.rglob("*") if entry.is_file())
            chosen |= dict.fromkeys(entry for entry in found if entry.match(_PATTERN))
            if skipped := [str(entry.relative_to(path)) for entry in found if not entry.match(_PATTERN)]:
                more = f" and {len(skipped) - 5} more" if len(skipped) > 5 else ""
                session.note(f"left out of {path}, since not {_PATTERN}: {', '.join(skipped[:5])}{more}")
        else:
            chosen[path] = None
    if not chosen:
        raise typer.BadParameter(f"no {_PATTERN} file in {', '.join(map(str, given))}", param_hint="FILE")
    return list(chosen)


async def _demo(session: Session, files: list[Path], keep: Path | None) -> "Report":
    from sluice_cli.demo_run import TENANTS, Demo
    from sluice_cli.up import showing_stages
    from sluice_core.tenant import Tenant, TenantSpec
    from sluice_local.embedded import EmbeddedStack

    directory = keep or Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="sluice-demo-"))
    tenants = [Tenant("demo", tenant_id, tenant_id, TenantSpec()) for tenant_id in TENANTS]
    try:
        stack = EmbeddedStack(directory, environ=session.environ, tenants=tenants)
        async with showing_stages(session, stack), stack:
            report = await Demo(session, stack, files).run()
            session.note("stopping")
    finally:
        if keep is None:
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
    if keep is not None:
        session.note(f"the data is kept: sluice up --data {keep}, then sluice logs {TENANTS[0]} --data {keep}")
    return report
