"""Asking before something cannot be undone.

Invariant: where nobody can answer, the answer is not yes.
"""

import sys
from typing import Annotated

import typer

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def confirm(question: str, *, yes: bool) -> None:
    """Return only if it is to be done: exit code 1 after a no, a usage error where nobody is there to ask."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"nobody to ask ({question}): add --yes", param_hint="--yes")
    if not typer.confirm(question, err=True):
        raise typer.Exit(1)
