"""What keeps a text readable for programs when a mark takes the place of a hit.

Invariant: JSON in which something is replaced is JSON again.
"""

import re
from typing import Final

_ESCAPE: Final = re.compile(r"[bfnrt]|u[0-9A-Fa-f]{4}")
_BEFORE_NUMBER: Final = re.compile(r"[:,\[]\s{0,8}$")
_AFTER_NUMBER: Final = re.compile(r"\s{0,8}(?:[,}\]]|$)")


def outside_escape(text: str, start: int, end: int) -> int:
    """Where a hit begins when its first characters belong to an escape of a JSON string, as in `\\nbob@example.com`."""
    if text[start - 1] != "\\" or start == 0 or '"' not in text:
        return start
    backslashes = 1
    while backslashes < start and text[start - 1 - backslashes] == "\\":
        backslashes += 1
    escape = _ESCAPE.match(text, start, end) if backslashes % 2 else None
    return escape.end() if escape else start


def is_json_number(text: str, start: int, end: int) -> bool:
    """Whether the hit is a bare number of a JSON text, whose mark therefore needs quotes."""
    return (
        text[0] in "{[ \t\r\n"
        and text.lstrip()[:1] in ("{", "[")
        and text[start:end].isdigit()
        and _BEFORE_NUMBER.search(text, max(0, start - 10), start) is not None
        and _AFTER_NUMBER.match(text, end) is not None
    )
