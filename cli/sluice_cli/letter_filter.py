"""Which letters a command is about. Pure.

Invariant: a filter that says nothing takes every letter, so whoever changes something with it asks whether that is
meant (`narrows`).
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer

from sluice_cli.moments import FORMS, moment_option
from sluice_core import reasons
from sluice_core.letter import StoredLetter

Parked = Annotated[
    bool, typer.Option("--parked", help="Parked records, which are tried again by themselves, not dead letters.")
]
ReasonOption = Annotated[
    str | None, typer.Option("--reason", metavar="CODE", help="Only with this reason.", show_default=False)
]
Since = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help=f"Only set aside since: {FORMS}.", show_default=False)
]
Until = Annotated[
    str | None, typer.Option("--until", metavar="TIME", help="Only set aside before.", show_default=False)
]
LogId = Annotated[
    str | None,
    typer.Option("--id", metavar="LOG_ID", help="Only what holds the record with this id.", show_default=False),
]

Sequences = Annotated[
    list[int] | None,
    typer.Argument(metavar="SEQUENCE", min=1, help="Only these, as `dlq list` shows them.", show_default=False),
]
All = Annotated[bool, typer.Option("--all", help="All of the tenant's, where nothing else says which.")]


class LetterFilter(msgspec.Struct, frozen=True, kw_only=True):
    """What a letter must be like; None and empty mean anything."""

    reason: str | None = None
    since: datetime | None = None
    """Set aside then or later, by the broker's clock."""
    until: datetime | None = None
    """Set aside before then."""
    log_id: str | None = None
    sequences: frozenset[int] = frozenset()

    @property
    def narrows(self) -> bool:
        """Whether it says anything."""
        return self != LetterFilter()

    def takes(self, stored: StoredLetter) -> bool:
        """Whether the letter is one of those."""
        return (
            (not self.sequences or stored.sequence in self.sequences)
            and (self.reason is None or stored.letter.reason == self.reason)
            and self._in_time(stored)
            and (self.log_id is None or self.log_id in log_ids(stored))
        )

    def _in_time(self, stored: StoredLetter) -> bool:
        if self.since is None and self.until is None:
            return True
        moment = datetime.fromisoformat(stored.stored_at)
        return (self.since is None or moment >= self.since) and (self.until is None or moment < self.until)


def log_ids(stored: StoredLetter) -> list[str]:
    """The ids of all records of a letter; of one that cannot be read the id its headers name."""
    submissions = stored.submissions()
    if submissions is None:
        return [stored.letter.log_id]
    return [submission.log_id(place) for submission in submissions for place in range(len(submission.records))]


def read_filter(
    reason: str | None, since: str | None, until: str | None, log_id: str | None, sequences: Sequence[int] = ()
) -> LetterFilter:
    """The filter that a command line asks for; a usage error where it cannot be read."""
    if reason is not None and reason not in reasons.ALL:
        known = ", ".join(sorted(code for code, known in reasons.ALL.items() if not known.status))
        raise typer.BadParameter(f"there is no reason {reason}; those of letters are {known}", param_hint="--reason")
    now = datetime.now(UTC)
    return LetterFilter(
        reason=reason,
        since=moment_option(since, "--since", now),
        until=moment_option(until, "--until", now),
        log_id=log_id,
        sequences=frozenset(sequences),
    )


def require_choice(chosen: LetterFilter, *, everything: bool) -> None:
    """A usage error unless it is said which letters are meant, by a filter or by `--all`, and not by both."""
    if everything and chosen.narrows:
        raise typer.BadParameter("with --all there is nothing to choose: leave out the one or the other")
    if not everything and not chosen.narrows:
        raise typer.BadParameter("say which letters: by sequence, --reason, --since, --until or --id, or --all of them")
