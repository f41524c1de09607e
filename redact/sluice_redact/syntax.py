"""What keeps a text readable for programs when a mark takes the place of a hit.

Invariant: JSON in which something is replaced is JSON again, also JSON within a string of JSON.
"""

import re
from typing import Final

_ESCAPE: Final = re.compile(r"[bfnrt]|u[0-9A-Fa-f]{4}")
_NUMBER: Final = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
# A name with as many backslashes before its quotes as there are strings around it, or elements of an array before it.
_NAMED: Final = re.compile(r"(\\*)\"\s{0,8}:\s{0,8}(?:\[[^\[\]\"\\]{0,200})?$")
_ELEMENT: Final = re.compile(r"[\[,]\s{0,8}$")
_AFTER: Final = re.compile(r"\s{0,8}(?:[,}\]]|\\[nr]|$)")
_QUOTES: Final = re.compile(r"\\.|\"", re.DOTALL)


def outside_escape(text: str, start: int, end: int) -> int:
    """Where a hit begins when its first characters belong to an escape of a JSON string, as in `\\nbob@example.com`."""
    if text[start - 1] != "\\" or start == 0 or '"' not in text:
        return start
    backslashes = 1
    while backslashes < start and text[start - 1 - backslashes] == "\\":
        backslashes += 1
    escape = _ESCAPE.match(text, start, end) if backslashes % 2 else None
    return escape.end() if escape else start


class JsonNumbers:
    """Says which hits of a text are bare numbers of JSON, whose marks need quotes. Asked from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._is_json = text[:1] in ("{", "[") or text.lstrip()[:1] in ("{", "[")
        self._position = 0
        self._inside = False
        """Whether `_position` is within a string."""

    def quote(self, start: int, end: int) -> str:
        """What has to stand on both sides of the mark: mostly nothing."""
        text = self._text
        if not self._is_json or not _NUMBER.fullmatch(text, start, end) or not _AFTER.match(text, end):
            return ""
        named = _NAMED.search(text, max(0, start - 220), start)
        if named is not None:
            return f'{named[1]}"'
        return '"' if _ELEMENT.search(text, max(0, start - 10), start) and not self._is_inside(start) else ""

    def _is_inside(self, start: int) -> bool:
        for token in _QUOTES.finditer(self._text, self._position, start):
            self._inside ^= token[0] == '"'
        self._position = max(self._position, start)
        return self._inside
