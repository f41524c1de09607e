"""One thing that was looked at, and how it is. Pure."""

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec

from sluice_cli.session import DEFAULT_DATA

Level = Literal["ok", "warning", "problem"]


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    level: Level
    about: str
    """Which part it is of: one word."""
    sentence: str
    """How it is, for a person."""
    fix: str = ""
    """What mends it: a command, or a line of configuration. Of everything that is not ok."""


def ok(about: str, sentence: str) -> Finding:
    """It is as it should be."""
    return Finding("ok", about, sentence)


def warning(about: str, sentence: str, fix: str) -> Finding:
    """It works now; somebody should know."""
    return Finding("warning", about, sentence, fix)


def problem(about: str, sentence: str, fix: str) -> Finding:
    """It is not as it should be, and something does not work, or will not."""
    return Finding("problem", about, sentence, fix)


def unless(found: Iterable[Finding], about: str, sentence: str) -> list[Finding]:
    """The findings, or this one when there are none."""
    return list(found) or [ok(about, sentence)]


def command(data: Path, *words: str) -> str:
    """A `sluice` command for the stack on `data`, to be copied."""
    return shlex.join(["sluice", *words, *([] if data == DEFAULT_DATA else ["--data", str(data)])])
