"""A text as the judges see it once something in it is a mark: each mark is a wall, and nothing reaches across one.

What is found depends on what stands around it, and replacing a hit changes what stands around its neighbours. So a
text is judged until nothing more is found in the view, and since a redacted text has the very same view, redacting it
again finds nothing. Invariant: the view of a text with spans is the view of the text in which they are replaced.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence
from operator import itemgetter
from typing import NamedTuple

from sluice_redact.detectors.model import WALL
from sluice_redact.marks import TAIL, Marks
from sluice_redact.spans import Span
from sluice_redact.syntax import is_json_number


class _Zone(NamedTuple):
    """A piece of the text and the piece of the view that shows it."""

    shown_start: int
    shown_end: int
    start: int
    end: int
    masked: bool
    """Whether its mark is of asterisks, behind which the end of the value may still be read."""


class View:
    """One text with what is already known to be a hit."""

    def __init__(self, text: str, spans: Sequence[Span], marks: Marks, pattern: re.Pattern[str]) -> None:
        self.spans = spans
        pieces: list[str] = []
        zones: list[_Zone] = []
        shown = position = 0

        def literal(end: int) -> None:
            nonlocal shown
            pieces.append(text[position:end])
            shown += end - position

        for start, end, what, masked in self._walls(text, spans, marks, pattern):
            literal(start)
            pieces.append(what)
            zones.append(_Zone(shown, shown + len(what), start, end, masked))
            shown += len(what)
            position = end
        literal(len(text))
        self.text = "".join(pieces)
        self._zones = zones

    @staticmethod
    def _walls(
        text: str, spans: Sequence[Span], marks: Marks, pattern: re.Pattern[str]
    ) -> "list[tuple[int, int, str, bool]]":
        walls: list[tuple[int, int, str, bool]] = []
        position = 0
        for start, end, name in [*spans, (len(text), len(text), "")]:
            walls += [(*found.span(), WALL, found[0][0] == "*") for found in pattern.finditer(text, position, start)]
            if name:
                value = text[start:end]
                tail = marks.tail(name, value)
                shown = f'"{WALL}{tail}"' if is_json_number(text, start, end) else WALL + tail
                walls.append((start, end, shown, marks.make(name, value)[0] == "*"))
            position = end
        return walls

    def back(self, spans: Sequence[Span]) -> list[Span]:
        """Where spans of the view are in the text; one that touches a hit takes all of it in.

        What is no longer than the end that a mask leaves, and stands behind asterisks, is that end and not a hit.
        """
        translated: list[Span] = []
        for start, end, name in spans:
            before = bisect_right(self._zones, start, key=itemgetter(0)) - 1
            if before >= 0 and end - start <= TAIL and self._is_tail(self._zones[before], start):
                continue
            translated.append((self._text_start(start), self._text_end(end), name))
        return translated

    def _is_tail(self, zone: _Zone, start: int) -> bool:
        return zone.masked and start <= max(zone.shown_end, zone.shown_start + 2)

    def _text_start(self, shown: int) -> int:
        zone = self._zone_before(shown)
        if zone is None:
            return shown
        return zone.start if shown < zone.shown_end else zone.end + shown - zone.shown_end

    def _text_end(self, shown: int) -> int:
        zone = self._zone_before(shown - 1)
        if zone is None:
            return shown
        return zone.end if shown <= zone.shown_end else zone.end + shown - zone.shown_end

    def _zone_before(self, shown: int) -> _Zone | None:
        place = bisect_right(self._zones, shown, key=itemgetter(0)) - 1
        return self._zones[place] if place >= 0 else None
