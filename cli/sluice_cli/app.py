"""The command line as a whole: which commands there are, under which names.

Invariant: nothing heavy is imported here or at the top of a command's module, so that `--help` answers at once.
"""

from typing import Annotated

import typer

from sluice_cli import demo, dlq, keys, logs, redact, send, tenants, up
from sluice_cli.doctor.command import doctor

app = typer.Typer(
    name="sluice",
    help="Multi-tenant log intake: every line that got a 202 is durable, redacted, and stored once in its tenant's "
    "own database.",
    epilog="Start with: sluice up     Or see it work, start to end: sluice demo",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"sluice {version('sluice')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


app.command("up", epilog="Example: sluice up -f team.yaml --port 8080")(up.up)
app.command("demo", epilog="Example: sluice demo /var/log/nginx --json")(demo.demo)
app.command("send", epilog="Example: sluice send app.log --tenant demo --resume")(send.send)
app.command("logs", epilog="Example: sluice logs demo --since 10m --grep 'timeout|refused' --follow")(logs.logs)
app.command("redact", epilog="Example: sluice redact app.log --stats     Or: sluice redact --explain 'call 555-0199'")(
    redact.redact
)
app.add_typer(tenants.app, name="tenants")
app.add_typer(keys.app, name="keys")
app.add_typer(dlq.app, name="dlq")
app.command("doctor", epilog="Example: sluice doctor     For scripts: sluice doctor --json")(doctor)
