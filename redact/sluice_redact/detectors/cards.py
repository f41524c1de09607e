"""Payment card numbers: known issuer, a length that issuer uses, and the Luhn check digit.

Invariant: all three must hold. Issuer and length alone accept a fifth of all 16-digit identifiers in machine logs.
"""

import re
from typing import Final

from sluice_redact.detectors.model import PART_OF_MORE, Detector, Expression, Refusal, Span, char_at, is_word

# Issuer prefixes and lengths. Visa's 19 digits are left out: they are unused in practice, and a tenth of the 19-digit
# numbers of that range (any 64-bit identifier) pass Luhn.
_ISSUERS: Final = re.compile(
    r"4(?:\d{12}|\d{15})"  # Visa
    r"|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}"  # Mastercard
    r"|3[47]\d{13}"  # American Express
    r"|3(?:0[0-5]|[689]\d)\d{11}"  # Diners Club
    r"|(?:6011|64[4-9]\d|65\d\d)\d{12}"  # Discover
    r"|35(?:2[89]|[3-8]\d)\d{12}|(?:2131|1800)\d{11}"  # JCB
    r"|62\d{14,17}"  # UnionPay
    r"|220[0-4]\d{12}"  # Mir
    r"|(?:5018|5020|5038|5893|6304|6759|676[1-3])\d{8}(?:\d{4}(?:\d{2,3})?)?",  # Maestro
    re.ASCII,
)
_INVALID: Final = Refusal("no issuer has such numbers, or the check digit is wrong (Luhn)", final=True)
_INVALID_HERE: Final = _INVALID._replace(final=False)
_GROUPS: Final = Refusal("the groups are not those of a card")
_DOUBLED: Final = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
_GROUPED: Final = re.compile(
    r"\d{4}([ .-])(?:\d{4}\1\d{4}\1(?:\d{4}(?:\1\d{1,3})?|\d\d\d?)|\d{6}\1\d{4,5})(?!\w)", re.ASCII
)


def luhn(digits: str) -> bool:
    """Whether the last of the ASCII digits is the Luhn check digit of the others."""
    values = [int(digit) for digit in reversed(digits)]
    return (sum(values[::2]) + sum(_DOUBLED[value] for value in values[1::2])) % 10 == 0


def _valid(digits: str) -> bool:
    return bool(_ISSUERS.fullmatch(digits)) and luhn(digits) and digits.count(digits[0]) < len(digits)


def _apart(text: str, start: int, end: int) -> bool:
    """Whether the digits stand for themselves: no word, number or fraction goes on around them."""
    before, ahead = char_at(text, start - 1), char_at(text, start - 2)
    if is_word(before) or (before == "." and ahead.isdigit()):
        return False
    if before == "-" and not ahead.isalpha():
        return False  # a negative number, as in blk_-4...
    return not (is_word(char_at(text, end)) or (char_at(text, end) in ("-", ".") and char_at(text, end + 1).isdigit()))


def _judge_bare(text: str, start: int, end: int) -> Span | Refusal:
    if not _valid(text[start:end]):
        return _INVALID
    return (start, end) if _apart(text, start, end) else PART_OF_MORE


def _judge_grouped(text: str, start: int, _end: int) -> Span | Refusal:
    """Groups of four, or 4-6-5 and 4-6-4; a security code behind them may look like one group more."""
    grouped = _GROUPED.match(text, start)
    if grouped is None:
        return _GROUPS
    written, separator = grouped[0], grouped[1]
    for candidate in (written, written[:19]) if len(written) > 19 else (written,):
        if _valid(candidate.replace(separator, "")):
            end = start + len(candidate)
            if _apart(text, start, end) or (candidate is not written and separator == " "):
                return start, end
    return _INVALID_HERE


def _judge_named(text: str, _start: int, end: int) -> Span | Refusal:
    """Visa's longest numbers: too many identifiers look like them to believe one without such a word."""
    return (end - 19, end) if luhn(text[end - 19 : end]) else _INVALID


def _judge_six_and_rest(text: str, start: int, end: int) -> Span | Refusal:
    end += char_at(text, end).isdigit()
    if not _valid(text[start : start + 6] + text[start + 7 : end]):
        return _INVALID
    return (start, end) if _apart(text, start, end) else PART_OF_MORE


# The grouped ones are of fixed length, so that `1234 4111 ...` cannot hide the card behind it.
CREDIT_CARD: Final = Detector(
    "credit_card",
    (
        Expression(r"\b(?:[2-6]\d{12,18}|(?:50|58|6[37])\d{10}|1800\d{11})\b", _judge_bare, "12 to 19 digits"),
        Expression(r"[2-6]\d{3}[ .-]\d{4}[ .-]\d{4}[ .-]\d\d", _judge_grouped, "groups of four digits"),
        Expression(
            r"(?:card|visa|credit|debit|pan)[^0-9\xff]{1,24}4\d{18}\b",
            _judge_named,
            "19 digits after a word for a card",
            caseless=True,
            anchor=True,
        ),
        Expression(r"62\d{4}[ -]\d{12}", _judge_six_and_rest, "groups of 6 and 13 digits"),
        Expression(r"(?:3\d{3}|2131|1800)[ .-]\d{6}[ .-]\d{4}", _judge_grouped, "groups of 4, 6 and 4 or 5 digits"),
    ),
)
