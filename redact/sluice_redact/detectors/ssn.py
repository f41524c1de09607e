"""US social security numbers: three, two and four digits with one separator, or nine digits after the name.

Invariant: numbers that the Social Security Administration never issues (area 000, 666, 900 and up; group 00; serial
0000) are not hits, and neither is a piece of a longer chain of numbers.
"""

import re
from typing import Final

from sluice_redact.detectors.model import PART_OF_MORE, Detector, Expression, Refusal, Span, char_at, is_word

_ISSUED: Final = re.compile(r"(?!000|666)[0-8]\d\d([- ])(?!00)\d\d\1(?!0000)\d{4}", re.ASCII)
_ISSUED_BARE: Final = re.compile(r"(?!000|666)[0-8]\d\d(?!00)\d\d(?!0000)\d{4}", re.ASCII)
_NEVER_ISSUED: Final = Refusal("no such number is ever issued", final=True)
_COLUMNS: Final = Refusal("it stands among columns of numbers")


def _judge(text: str, start: int, end: int) -> Span | Refusal:
    if not _ISSUED.fullmatch(text, start, end):
        return _NEVER_ISSUED
    before, after = char_at(text, start - 1), char_at(text, end)
    if (is_word(before) and before != "_") or before in ("-", ".", "/", "+") or after == "-":
        return PART_OF_MORE
    if after and after in "./ " and char_at(text, end + 1).isdigit() and (after != " " or text[start + 3] == " "):
        return PART_OF_MORE
    if before == " " and text[start + 3] == " " and char_at(text, start - 2).isdigit():
        return _COLUMNS
    return start, end


def _judge_named(text: str, _start: int, end: int) -> Span | Refusal:
    return (end - 9, end) if _ISSUED_BARE.fullmatch(text, end - 9, end) else _NEVER_ISSUED


US_SSN: Final = Detector(
    "us_ssn",
    (
        Expression(r"[0-8]\d\d[- ]\d\d[- ]\d{4}\b", _judge, "3, 2 and 4 digits with separators"),
        Expression(
            r"(?:ssn|social[ _-]?security(?:[ _-]?(?:number|num|no\.?|#))?)"
            r"[^0-9A-Za-z\xff]{1,8}(?:(?:is|was|of)\s)?\d{9}\b",
            _judge_named,
            "9 digits after its name",
            caseless=True,
            anchor=True,
        ),
    ),
)
