"""A text as the judges see it once something in it is a mark: each mark is a wall, and nothing reaches across one.

What is found depends on what stands around it, and replacing a hit changes what stands around its neighbours. So a
text is judged until nothing more is found in the view, and since the view is made of the redacted text, redacting that
again finds nothing. Invariant: the view of a text with spans is the view of the text in which they are replaced.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from operator import itemgetter
from typing import NamedTuple

from sluice_redact.detectors.model import WALL
from sluice_redact.marks import TAIL
from sluice_redact.spans import Span


class Place(NamedTuple):
    """A piece of one text and the piece of another that stands for it."""

    start: int
    end: int
    origin: int
    origin_end: int


class View:
    """One text with what is already known to be a hit."""

    def __init__(self, spans: Sequence[Span], redacted: str, marks: Sequence[Place], pattern: re.Pattern[str]) -> None:
        """`redacted` is the text with the marks of `spans` in it, `marks` where they are and what they stand for."""
        self.spans = spans
        self._marks = marks
        found = list(pattern.finditer(redacted))
        edges = [0, *(edge for mark in found for edge in mark.span()), len(redacted)]
        self.text = WALL.join(redacted[start:end] for start, end in list(pairwise(edges))[::2])
        self._walls: list[Place] = []
        self._masked: set[int] = set()
        """Where walls of asterisks end, behind which the end of a value may still be read."""
        shift = 0
        for mark in found:
            start, end = mark.span()
            self._walls.append(Place(start - shift, start - shift + 1, start, end))
            shift += end - start - 1
            if mark[0][0] == "*":
                self._masked.add(end - shift)

    def back(self, spans: Sequence[Span]) -> list[Span]:
        """Where spans of the view are in the text; one that touches a hit takes all of it in.

        What is no longer than the end that a mask leaves, and stands behind asterisks, is that end and not a hit.
        """
        return [
            (*_origin(self._marks, *_origin(self._walls, start, end)), name)
            for start, end, name in spans
            if end - start > TAIL or start not in self._masked
        ]


def _origin(places: Sequence[Place], start: int, end: int) -> tuple[int, int]:
    """Where a piece of what is shown comes from, with all of every place that it touches."""
    first = _before(places, start)
    if first is not None:
        start = first.origin if start < first.end else start - first.end + first.origin_end
    last = _before(places, end - 1)
    if last is not None:
        end = last.origin_end if end <= last.end else end - last.end + last.origin_end
    return start, end


def _before(places: Sequence[Place], position: int) -> Place | None:
    index = bisect_right(places, position, key=itemgetter(0)) - 1
    return places[index] if index >= 0 else None
