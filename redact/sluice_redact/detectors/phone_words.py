"""Phone numbers that the word before them gives away, however they are grouped: `tel: 02079460958`, `call me at ...`.

Invariant: between the word and the number stand only words that lead to one ("number is", "us at"), so that `call 4711
times` and `phone model 123456789` are left alone.
"""

import re
from typing import Final

from sluice_redact.detectors.dialling import NORTH_AMERICAN
from sluice_redact.detectors.model import PART_OF_MORE, Expression, Refusal, Span, char_at, is_word

_LONGEST: Final = 32
_FEWEST: Final = 7
_FEWEST_BARE: Final = 9
_MERE_GAP: Final = 2
_SHORT_NOUN: Final = re.compile("cell?|mob|fon[eo]?|portable|gsm|kom.*", re.IGNORECASE)
_WRITTEN: Final = re.compile(r"\(?\d++\)?(?:[ .\-/\u00a0]{0,2}\(?\d++\)?)*+", re.ASCII)
_FIRST_DIGITS: Final = re.compile(r"\(?\d\)?[ -]?\(?\d$", re.ASCII)
_GROUP: Final = re.compile(r"\d+", re.ASCII)
_DATE_OR_ADDRESS: Final = re.compile(
    r"(?:19|20)\d\d([-/.])\d\d?\1\d\d|\d\d?([-/.])\d\d?\2(?:19|20)\d\d|\d{1,3}(?:\.\d{1,3}){3}(?!\d)", re.ASCII
)
_NOUN: Final = (
    r"(?:tele|cell|mobile|smart)?[pP]hone|t[eé]l(?:[eé](?:fono?|phone|fone|foon|fax))?|telefon(?:nummer|u|em|ie|ino)?"
    r"|mobile?|m[oó]vil|mobiltelefon|mobilnummer|handy(?:nummer)?|cell(?:ulare?)?|cel(?:ular)?|mob|fax|gsm|portable"
    r"|rufnummer|durchwahl|hotline|helpline|msisdn|whatsapp|sms|fon[eo]?|kom[oó]rk\w{1,3}"
)
_VERB: Final = (
    r"caller(?:[ _-]?id)?|callee|callback"
    r"|calls?|called|calling|dial|dialed|dialled|dialing|ring|rang|reach|reached|contact|text|texted|ruf(?:en)?|anrufen"
    r"|erreichen|erreichbar|kontakt|appel(?:er|ez|le)|joignable|contacter|ll[aá]m[ae](?:r|me|nos)?|llamar|chiam(?:are?|ami|ate)"
    r"|bel|bellen|ligue|ligar|zadzwo\w{1,4}|dzwoni\w{1,3}"
)
_LEADING: Final = (
    r"numbers?|num|nr|no|n|is|was|me|us|him|her|them|at|on|to|from|back|line|home|work|office|the|my|our|his|your|a|it"
    r"|or|and|via|now|please|direct|main|mobile|cell|new|old|phone|ist|lautet|unter|mich|uns|ihn|sie|der|die|das|bitte|an"
    r"|num[eé]ro|n[uú]mero|nummer|numer|telefonicznie|pod|au|aux|al|el|en|le|la|il|es|est|[eè]|op|naar|om|del|de|di"
    r"|para|por|numerem|directement|personal|privat|customer|primary|secondary|value|v"
)
_WORD: Final = re.compile(
    rf"(?:\b|_|(?-i:(?<=[a-z])(?=[A-Z])))(?:(?P<noun>{_NOUN})|(?P<verb>{_VERB}))"
    rf"(?:[^A-Za-z0-9\udcff]{{0,4}}(?:{_LEADING})(?![a-zà-ÿ])){{0,4}}[^A-Za-z0-9\udcff]{{1,6}}$",
    re.IGNORECASE,
)
_EIGHT: Final = re.compile(r"\d{4}[ .-]\d{4}|\d\d(?:[ .-]\d\d){3}", re.ASCII)
_NO_WORD: Final = Refusal("no word for a phone leads to it")
_NO_NUMBER: Final = Refusal("what follows the word is no phone number: too few or too many digits, a date, an address")


def _most(digits: str, *, bracketed: bool) -> int:
    """How many digits a number that begins so can have."""
    if digits.startswith("00"):
        return 15
    return 13 if digits[0] == "0" else 12 if bracketed else 11 if digits[0] in "178" else 10


def _number(text: str, start: int) -> tuple[int, int, str] | None:
    """The number that begins at `start`: start, end, digits."""
    if _DATE_OR_ADDRESS.match(text, start) or char_at(text, start - 1) in ("-", ".", "+"):
        return None
    written = _WRITTEN.match(text, start, start + _LONGEST)
    if written is None:
        return None
    digits = ""
    stop = start
    for group in _GROUP.finditer(text, start, written.end()):
        if digits and (
            len(digits) + len(group[0]) > _most(digits, bracketed=text[start] == "(")
            or NORTH_AMERICAN.fullmatch(digits)
        ):
            break
        digits += group[0]
        stop = group.end()
    if not _FEWEST <= len(digits) <= 15:
        return None
    after = char_at(text, stop)
    if is_word(after) or after == ":" or (after in ("-", ".") and char_at(text, stop + 1).isalnum()):
        return None
    return start, stop, digits


def _judge(text: str, _start: int, end: int) -> Span | Refusal:
    """`end` is behind the second digit."""
    first = _FIRST_DIGITS.search(text, max(0, end - 5), end)
    found = _number(text, first.start()) if first else None
    if found is None:
        return _NO_NUMBER
    start, stop, digits = found
    word = _WORD.search(text, max(0, end - 64), start)
    if word is None:
        return _NO_WORD
    # Verbs such as `call` also precede counts and identifiers: a full national number, or one in groups, only.
    leads = len(word[0]) - len(word["verb"] or word["noun"]) > _MERE_GAP or "=" in word[0] or ":" in word[0]
    if word["verb"] and not _is_certain(text[start:stop], digits, leads=leads):
        return _NO_NUMBER
    if word["noun"] and stop - start == len(digits) < _FEWEST_BARE and _SHORT_NOUN.fullmatch(word["noun"]):
        return _NO_NUMBER
    return (start, stop) if not is_word(char_at(text, start - 1)) else PART_OF_MORE


def _is_certain(written: str, digits: str, *, leads: bool) -> bool:
    """`leads`: whether there is more between word and number than a blank."""
    if len(digits) <= 8:
        return _EIGHT.fullmatch(written) is not None
    if len(written) > len(digits):
        return True
    if not leads:
        return digits[0] == "0" and len(digits) <= 11
    return len(digits) >= 10 and (digits[0] == "0" or len(digits) <= 13)


AFTER_WORD: Final = Expression(
    r"(?:phone|fone|tel|t\xc3\xa9l|mobil|m\xc3\xb3vil|movil|handy|cell|cel|mob|fax|gsm|portable|nummer|durchwahl|hotline|helpline|msisdn"
    r"|whatsapp|sms|fono|kom[o\xc3]|callback|call|dial|ring|rang|reach|contact|kontakt|text|ruf|erreich|appel|joignable|ll[a\xc3]|chiam|bel|lig|dzwo)"
    r"[^0-9\xff]{1,40}\d\)?[ -]?\(?\d",
    _judge,
    "digits after a word for a phone",
    caseless=True,
    anchor=True,
)
