"""A labelled corpus: records with the values in them that redaction must find, and how well it does.

One record a line; `⟦name:value⟧` marks a value and its detector, `⏎` stands for a newline within the record, lines that
begin with `## ` are headings. A record without a mark is a negative. Where two detectors describe the same secret (a
token that is also the value of `password=`), either name counts.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from sluice_redact import Hit

_MARK = re.compile("⟦([a-z0-9_]+):(.*?)⟧", re.DOTALL)
_SECRETS = frozenset(
    [
        "jwt",
        "private_key",
        "aws_access_key",
        "gcp_key",
        "azure_key",
        "github_token",
        "slack_token",
        "authorization",
        "url_credentials",
        "password_assignment",
    ]
)
"""Of these one may stand for the other: they are names for what authenticates."""


class Labelled(NamedTuple):
    """A record and the values in it."""

    place: str
    text: str
    values: tuple[Hit, ...]


class Score:
    """Counts of one detector."""

    def __init__(self) -> None:
        self.labelled = self.found = self.exact = self.hits = self.right = 0

    @property
    def recall(self) -> float:
        """Of the labelled values, those that no character of is left of."""
        return self.found / self.labelled if self.labelled else 1.0

    @property
    def precision(self) -> float:
        """Of the hits, those that belong to a labelled value."""
        return self.right / self.hits if self.hits else 1.0


class Evaluation:
    """What a scan makes of a corpus."""

    def __init__(self) -> None:
        self.scores: dict[str, Score] = {}
        self.missed: list[tuple[str, Hit, str]] = []
        """Labelled values of which something is left: place, value, text."""
        self.false: list[tuple[str, Hit, str]] = []
        self.records = self.negatives = 0
        self.harmed: Counter[str] = Counter()
        """Negatives in which something was found, by detector."""

    def score(self, detector: str) -> Score:
        return self.scores.setdefault(detector, Score())


def parse(line: str, place: str) -> Labelled:
    """A line of a corpus without its marks, and where they were."""
    values: list[Hit] = []
    pieces: list[str] = []
    position = length = 0
    line = line.replace("⏎", "\n")
    for mark in _MARK.finditer(line):
        pieces += (line[position : mark.start()], mark[2])
        start = length + mark.start() - position
        length = start + len(mark[2])
        position = mark.end()
        values.append(Hit(mark[1], start, length))
    pieces.append(line[position:])
    return Labelled(place, "".join(pieces), tuple(values))


def load(paths: Iterable[Path]) -> Iterator[Labelled]:
    """The records of some files."""
    for path in paths:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if line.strip() and not line.startswith("## "):
                yield parse(line, f"{path.name}:{number}")


def evaluate(corpus: Iterable[Labelled], scan: Callable[[str], list[Hit]]) -> Evaluation:
    """Compare hits with labels. A value counts as found when hits of its kind cover all of it."""
    result = Evaluation()
    for record in corpus:
        hits = scan(record.text)
        result.records += 1
        result.negatives += not record.values
        for value in record.values:
            score = result.score(value.detector)
            score.labelled += 1
            covering = [
                hit for hit in hits if _same_kind(hit, value) and hit.start <= value.start and hit.end >= value.end
            ]
            score.found += bool(covering)
            score.exact += any((hit.start, hit.end) == (value.start, value.end) for hit in covering)
            if not covering:
                result.missed.append((record.place, value, record.text))
        for hit in hits:
            score = result.score(hit.detector)
            score.hits += 1
            if any(
                _same_kind(hit, value) and hit.start < value.end and value.start < hit.end for value in record.values
            ):
                score.right += 1
            else:
                result.false.append((record.place, hit, record.text))
                if not record.values:
                    result.harmed[hit.detector] += 1
    return result


def _same_kind(hit: Hit, value: Hit) -> bool:
    return hit.detector == value.detector or {hit.detector, value.detector} <= _SECRETS
