"""International bank account numbers: a country that has them, its length, and the check digits (ISO 13616, mod 97).

Invariant: all three must hold; in groups, the groups are of four.
"""

import re
from typing import Final

from sluice_redact.detectors.model import PART_OF_MORE, Detector, Expression, Refusal, Span, char_at, is_word

_LENGTHS: Final = {
    country: length
    for length, countries in {
        15: "NO",
        16: "BE",
        18: "DK FI FO GL NL SD",
        19: "MK SI",
        20: "AT BA EE KZ LT LU MN XK",
        21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA",
        23: "AE GI IL IQ OM SO TL",
        24: "AD CZ ES FK MD PK RO SA SE SK TN VG",
        25: "LY PT ST",
        26: "IS TR",
        27: "BI DJ FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HU LB NI PL SV",
        29: "BR EG PS QA UA",
        30: "JO KW MU YE",
        31: "MT SC",
        32: "LC",
        33: "RU",
    }.items()
    for country in countries.split()
}
# 34 characters at most, and a separator after every fourth.
_WRITTEN: Final = re.compile(
    r"[A-Z]{2}\d\d([ \u00a0-]?)[A-Z0-9]{4}(?:\1[A-Z0-9]{4}){1,6}(?:\1[A-Z0-9]{1,3})?", re.ASCII
)
_NO_COUNTRY: Final = Refusal("no country's account numbers begin so", final=True)
_LENGTH: Final = Refusal("that country's account numbers have another length")
_CHECK: Final = Refusal("the check digits are wrong (mod 97)")


def _checks(compact: str) -> bool:
    return int("".join(str(int(char, 36)) for char in compact[4:] + compact[:4])) % 97 == 1


def _judge(text: str, start: int, _end: int) -> Span | Refusal:
    length = _LENGTHS.get(text[start : start + 2])
    if length is None:
        return _NO_COUNTRY
    if is_word(char_at(text, start - 1)):
        return PART_OF_MORE
    written = _WRITTEN.match(text, start)
    if written is None:
        return _LENGTH
    separators = bool(written[1]) * ((length - 1) // 4)
    end = start + length + separators
    if written.end() < end or is_word(char_at(text, end)):
        return _LENGTH
    compact = text[start:end].replace(written[1], "") if separators else text[start:end]
    return (start, end) if len(compact) == length and _checks(compact) else _CHECK


IBAN: Final = Detector(
    "iban",
    (
        Expression(
            r"[A-Z]{2}\d\d(?:[ -]|\xc2\xa0)?[A-Z0-9]{4}(?:[ -]|\xc2\xa0)?[A-Z0-9]{3}", _judge, "country and digits"
        ),
    ),
)
