"""US social security numbers: three, two and four digits with one separator.

Invariant: numbers that the Social Security Administration never issues (area 000, 666, 900 and up; group 00; serial
0000) are not hits, and neither is a piece of a longer chain of numbers.
"""

import re
from typing import Final

from sluice_redact.detectors.model import Detector, Expression, Span, char_at, is_word

_ISSUED: Final = re.compile(r"(?!000|666)[0-8]\d\d([- ])(?!00)\d\d\1(?!0000)\d{4}", re.ASCII)


def _judge(text: str, start: int, end: int) -> Span | None:
    if not _ISSUED.fullmatch(text, start, end):
        return None
    before, after = char_at(text, start - 1), char_at(text, end)
    if is_word(before) or before in ("-", ".", "/", "+") or after == "-":
        return None
    if after and after in "./ " and char_at(text, end + 1).isdigit() and (after != " " or text[start + 3] == " "):
        return None
    if before == " " and text[start + 3] == " " and char_at(text, start - 2).isdigit():
        return None  # one of several columns of numbers
    return start, end


US_SSN: Final = Detector("us_ssn", (Expression(r"[0-8]\d\d[- ]\d\d[- ]\d{4}\b", _judge),))
