"""Phone numbers: international with `+`, North American with separators, local NNN-NNNN, and bare after a word.

It exists because digits alone say nothing: 36% of the lines of real machine logs hold a run of digits that a usual
phone expression accepts. Invariant: a hit has a `+`, separators at the right places, or a word such as "phone" before.
"""

import re
from typing import Final

from sluice_redact.detectors.dialling import COUNTRY_CODE, national_lengths
from sluice_redact.detectors.model import Detector, Expression, Span, char_at, is_word

# No number written with separators, brackets and a trunk zero is longer.
_LONGEST: Final = 32
_PLUS: Final = re.compile(r"\+\(?\d++\)?(?:[ .\-/\u00a0]?\(\d{1,5}\))?(?:[ .\-/\u00a0]{0,2}\d++)*+", re.ASCII)
_GROUPED: Final = re.compile(r"\(?\d++\)?(?:[ .\-/]{0,2}\d++)*+", re.ASCII)
_GROUP: Final = re.compile(r"\d+", re.ASCII)
_EXTENSION: Final = re.compile(r" ?(?:x|ext\.?) ?\d{1,5}(?!\w)", re.ASCII | re.IGNORECASE)
_NORTH_AMERICAN: Final = re.compile(r"1?[2-9]\d\d[2-9]\d{6}", re.ASCII)
_DATE_OR_ADDRESS: Final = re.compile(r"(?:19|20)\d\d([-/.])\d\d?\1\d\d|\d{1,3}(?:\.\d{1,3}){3}(?!\d)", re.ASCII)

_WORD: Final = re.compile(
    r"(?:\b|_|(?-i:(?<=[a-z])(?=[A-Z])))(?:(?P<noun>(?:tele|cell|mobile)?[pP]hone|tel|mobile|cell|mob|(?:tele)?fax|msisdn|whatsapp"
    r"|sms)|(?:calls?|called|calling|dial|dialed|dialled|dialing|ring|reach|reached|contact|text|texted))"
    r"(?:[^A-Za-z0-9]{0,3}(?:numbers?|num|nr|no|is|was|me|us|him|her|them|at|on|to|from|back|line|home|work|office)"
    r"(?![a-z]))*[^A-Za-z0-9]{1,5}$",
    re.ASCII | re.IGNORECASE,
)
# What counts ranges and identifiers of the shape NNN-NNNN.
_COUNTED: Final = re.compile(
    r"(?:\b|_)(?:bytes?|ranges?|lines?|pages?|pp|ports?|rows?|offsets?|chars?|columns?|positions?|records?|items?|sectors?"
    r"|blocks?|between|code|error|err|ids?|pid|part|model|sku|serial|ticket|bug|issue|case|order|ref|invoice|rfc|iso"
    r"|build|version|rev|release|room|flight|sizes?|seq|uid|gid)[^A-Za-z0-9]{1,3}$",
    re.ASCII | re.IGNORECASE,
)


def _with_extension(text: str, start: int, end: int) -> Span | None:
    extension = _EXTENSION.match(text, end)
    if extension:
        return start, extension.end()
    return None if is_word(char_at(text, end)) else (start, end)


def _continues(text: str, end: int) -> bool:
    """Whether what follows makes the digits a piece of something longer."""
    after = char_at(text, end)
    return after in ("-", "/", "_", ":") or (after == "." and char_at(text, end + 1).isalnum())


def _judge_plus(text: str, start: int, _end: int) -> Span | None:
    before = char_at(text, start - 1)
    if is_word(before) or before in (")", "]", "+"):
        return None  # an offset or a sum
    run = _PLUS.match(text, start, start + _LONGEST)
    if run is None:
        return None
    best = None
    digits = ""
    for group in _GROUP.finditer(text, start, run.end()):
        if group[0] == "0" and char_at(text, group.start() - 1) == "(":
            continue  # +44 (0)20: the trunk zero is not dialled
        digits += group[0]
        code = COUNTRY_CODE.match(digits)
        if code is None:
            return None
        if code[0] == "1" and not _NORTH_AMERICAN.fullmatch(digits):
            continue
        if len(digits) - len(code[0]) in national_lengths(code[0]):
            best = group.end()
    return None if best is None else _with_extension(text, start, best)


def _judge_north_american(text: str, start: int, end: int) -> Span | None:
    first, second = text[end - 9], text[end - 5]
    if first != second and first not in " )" and text[start] != "(":
        return None
    if _continues(text, end):
        return None
    before = char_at(text, start - 1)
    if before and before in " .-" and char_at(text, start - 2) == "1":
        ahead = char_at(text, start - 3)
        if ahead == "+":
            start -= 3
        elif not ahead or not (is_word(ahead) or ahead in ".-"):
            start -= 2
        before = char_at(text, start - 1)
    if is_word(before) or before in (".", "-", "+"):
        return None
    if first == second == " " and text[start] != "(":
        # three columns of a table of numbers look the same
        if before == " " and char_at(text, start - 2).isdigit():
            return None
        if char_at(text, end) == " " and char_at(text, end + 1).isdigit():
            return None
    return _with_extension(text, start, end)


def _judge_local(text: str, start: int, end: int) -> Span | None:
    before = char_at(text, start - 1)
    if (
        is_word(before)
        or before in (".", "-", "/", "#", "+", "$", "@", "~")
        or _continues(text, end)
        or char_at(text, end) in ("%", "@")
    ):
        return None
    return None if _COUNTED.search(text[max(0, start - 16) : start]) else (start, end)


def _after_word(text: str, end: int, fewest: int) -> tuple[int, int, str] | None:
    """The number whose first three digits end at `end`: start, end, digits."""
    start = end - 3
    if char_at(text, start - 1) == "(":
        start -= 1
    run = _GROUPED.match(text, start, start + _LONGEST)
    if run is None or _DATE_OR_ADDRESS.match(text, end - 3) or char_at(text, start - 1) in ("-", "."):
        return None
    digits = ""
    stop = start
    for group in _GROUP.finditer(text, start, run.end()):
        if digits and len(digits) + len(group[0]) > 15:
            break
        digits += group[0]
        stop = group.end()
        if len(digits) >= max(fewest, 9):
            break
    if not fewest <= len(digits) <= 15 or is_word(char_at(text, stop)) or char_at(text, stop) == ":":
        return None
    return start, stop, digits


def _judge_after_word(text: str, _start: int, end: int) -> Span | None:
    word = _WORD.search(text[max(0, end - 48) : end - 3])
    if word is None:
        return None
    if word["noun"]:
        found = _after_word(text, end, 7)
        return None if found is None else (found[0], found[1])
    # Verbs such as `call` also precede counts and identifiers: a full national number only.
    found = _after_word(text, end, 10)
    if found is None or not (_NORTH_AMERICAN.fullmatch(found[2]) or (found[2][0] == "0" and len(found[2]) <= 11)):
        return None
    return found[0], found[1]


PHONE: Final = Detector(
    "phone",
    (
        Expression(r"\+\(?[1-9]\d", _judge_plus),
        Expression(r"[2-9]\d\d[ .-][2-9]\d\d[ .-]\d{4}\b", _judge_north_american),
        Expression(r"\([2-9]\d\d\)[ .-]?[2-9]\d\d[ .-]?\d{4}\b", _judge_north_american),
        Expression(r"[2-9]\d\d-\d{4}\b", _judge_local),
        Expression(
            r"(?:phone|tel|mobile|cell|mob|fax|msisdn|whatsapp|sms|call|calls|called|calling|dial|dialed|dialled|dialing"
            r"|ring|reach|reached|contact|text|texted)[^0-9\xff]{1,24}\d\d\d",
            _judge_after_word,
            caseless=True,
            anchor=True,
        ),
    ),
)
