"""MAC addresses: six pairs of hexadecimal digits with one separator, or Cisco's three groups of four.

Invariant: a hit is a whole address; a piece of a fingerprint, an EUI-64 or a world wide name is none.
"""

import re
from typing import Final

from sluice_redact.detectors.model import PART_OF_MORE, Detector, Expression, Refusal, Span, char_at, is_word

_DECIMAL: Final = Refusal("groups of four without a letter are decimal numbers more likely", final=True)
_DATE: Final = Refusal("six pairs of decimal digits with dashes are a date and a time more likely", final=True)
_LETTER: Final = re.compile("[A-Fa-f]")


def _apart(text: str, start: int, end: int, separator: str) -> bool:
    before, after = char_at(text, start - 1), char_at(text, end)
    if is_word(before) or is_word(after):
        return False
    goes_on = after == separator and char_at(text, end + 1).isalnum()
    return not (goes_on or (before == separator and char_at(text, start - 2).isalnum()))


def _judge_pairs(text: str, start: int, end: int) -> Span | Refusal:
    if text[start + 2] == "-" and not _LETTER.search(text, start, end):
        return _DATE
    return (start, end) if _apart(text, start, end, text[start + 2]) else PART_OF_MORE


def _judge_groups(text: str, start: int, end: int) -> Span | Refusal:
    if not _LETTER.search(text, start, end):
        return _DECIMAL
    return (start, end) if _apart(text, start, end, ".") else PART_OF_MORE


_PAIR: Final = "[0-9A-Fa-f]{2}"
MAC: Final = Detector(
    "mac",
    (
        Expression(rf"(?:{_PAIR}:){{5}}{_PAIR}\b", _judge_pairs, "six pairs with colons"),
        Expression(rf"(?:{_PAIR}-){{5}}{_PAIR}\b", _judge_pairs, "six pairs with dashes"),
        Expression(r"(?:[0-9A-Fa-f]{4}\.){2}[0-9A-Fa-f]{4}\b", _judge_groups, "three groups of four"),
    ),
)
