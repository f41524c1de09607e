"""Phone numbers that are recognised by how they are written: with `+` or `00`, or grouped as people group them.

It exists because digits alone say nothing: 36% of the lines of real machine logs hold a run of digits that a usual
phone expression accepts. Invariant: a hit has a prefix or separators at the places where a dialling plan has them;
numbers that only a word before them gives away are in `phone_words`.
"""

import re
from typing import Final

from sluice_redact.detectors.dialling import COUNTRY_CODE, NORTH_AMERICAN, national_lengths
from sluice_redact.detectors.model import EDGE, PART_OF_MORE, Detector, Expression, Refusal, Span, char_at, is_word
from sluice_redact.detectors.phone_words import AFTER_WORD

# No number written with separators, brackets and a trunk zero is longer.
_LONGEST: Final = 32
_INTERNATIONAL: Final = re.compile(
    r"\(?\d++\)?(?:[ .\-/\u00a0]?\(\d{1,5}\))?(?:(?:[ .\-/\u00a0\u2011\u2013]| / ?|\) ?)?\(?\d++\)?)*+", re.ASCII
)
_GROUP: Final = re.compile(r"\d+", re.ASCII)
_EXTENSION: Final = re.compile(
    r"(?:,? ?(?:x|ext\.?|extension|durchwahl|poste)|[ -]?#) ?\d{1,6}(?!\w)", re.ASCII | re.IGNORECASE
)
# A trunk zero and an area or operator code, then groups.
_NATIONAL: Final = re.compile(
    r"\(?0\d{1,4}\)?(?: ?[/\-\u2013] ?|[ .\u00a0])?\d{1,8}(?:[ .\-/\u00a0]\d{1,8}){0,4}+", re.ASCII
)
_TRUNK: Final = re.compile(
    r"(?:\(|(?<![\w.:/#$+\-(]))0[1-9]\d{0,3}(?:\) ?[-/]? ?| ?[/\-\u2013] ?|[ .\u00a0])\d\d[ ./-]?\d$", re.ASCII
)
_DATE: Final = re.compile(r"0\d[-/. ]\d\d[-/. ](?:19|20)\d\d(?!\d)|0\d[-/.]\d\d[-/.]\d\d(?!\d|[-/.]\d)", re.ASCII)
# What counts ranges and identifiers of the shape of a local or national number.
_COUNTED: Final = re.compile(
    r"(?:\b|_)(?:bytes?|ranges?|lines?|pages?|pp|ports?|rows?|offsets?|chars?|columns?|positions?|records?|items?|sectors?"
    r"|blocks?|between|code|error|err|ids?|pid|part|model|sku|serial|ticket|bug|issue|case|order|ref|reference|invoice|rfc"
    r"|took|chunks?|https?|shards?|nodes?|regions?|partitions?|epochs?|steps?|samples|iterations|batch(?:es)?|keys?|slots?|frames?"
    r"|tasks?|ranks?|cpus?|iso|isbn|issn|build|version|rev|release|room|flight|sizes?|seq|uid|gid|article|artikel|batch|lot|claim|po|account"
    r"|acct|policy|tracking|booking|patch|kb|cve|zip|plz|score|scores|sections?|chapters?|extension|rev)"
    r"(?:[ _-]?(?:numbers?|num|nr|no|id))?[^A-Za-z0-9]{1,3}$",
    re.ASCII | re.IGNORECASE,
)
_THREE_THREE_FOUR: Final = re.compile(r"\d{3}\)? ?[ .-]?\d{3}[ .-]\d{4}(?!\d)", re.ASCII)
_UNIT: Final = re.compile(r" ?(?:[mµu]?s|[kKMGT]i?B|bytes|px|rows|ms/op)\b")
_ROUND: Final = frozenset(["1024", "1080", "1280", "1440", "1600", "1920", "2048", "4096", "8192"])
_NO_PLAN: Final = Refusal("no dialling plan has such a number")
_COLUMNS: Final = Refusal("it stands among columns of numbers")
_NAMED_OTHERWISE: Final = Refusal("the word before it says that it is something else")


def _finish(text: str, start: int, end: int) -> Span | Refusal:
    """The number with its extension, unless it runs on as something else."""
    extension = _EXTENSION.match(text, end)
    if extension:
        return start, extension.end()
    if _UNIT.match(text, end):
        return _COLUMNS
    after = char_at(text, end)
    if is_word(after) or (after in ("-", "/", ":", ".", "\u2013") and is_word(char_at(text, end + 1))):
        return PART_OF_MORE
    return start, end


def _among_columns(text: str, start: int, end: int) -> bool:
    before = char_at(text, start - 1) == " " and char_at(text, start - 2).isdigit()
    return before or (char_at(text, end) in (" ", "\t") and char_at(text, end + 1).isdigit())


def _named_otherwise(text: str, start: int) -> bool:
    return _COUNTED.search(text[max(0, start - 28) : start]) is not None


def _judge_plus(text: str, start: int, _end: int) -> Span | Refusal:
    before = char_at(text, start - 1)
    if is_word(before) or before in (")", "]", "+"):
        return PART_OF_MORE  # an offset or a sum
    if before == "(" and ")" in text[start : start + 6]:
        return _international(text, start - 1, start + 1)  # (+358) 40 123 4567
    return _international(text, start, start + 1)


def _judge_zeros(text: str, _start: int, end: int) -> Span | Refusal:
    """`00` dials abroad; without a separator somewhere it is a mere number."""
    start = text.rindex("00", max(0, end - 5), end)
    found = _international(text, start, start + 2 + (char_at(text, start + 2) in " -."))
    if isinstance(found, Refusal):
        return found
    digits = _GROUP.findall(text[start : found[1]])
    code = COUNTRY_CODE.match("".join(digits)[2:])
    if len(digits) == 1 or code is None or digits[0].lstrip("0") not in ("", code[0]):
        return _NO_PLAN  # 004657 17337 is two numbers
    if (
        all(len(group) == 2 for group in digits)
        and char_at(text, start - 1) == " "
        and char_at(text, start - 2).isalnum()
    ):
        return _COLUMNS
    return found


def _international(text: str, start: int, first: int) -> Span | Refusal:
    """A number whose country code begins at `first`."""
    run = _INTERNATIONAL.match(text, first, start + _LONGEST)
    if run is None:
        return _NO_PLAN
    best = None
    digits = ""
    for group in _GROUP.finditer(text, first, run.end()):
        if group[0] == "0" and char_at(text, group.start() - 1) == "(":
            continue  # +44 (0)20: the trunk zero is not dialled
        digits += group[0]
        code = COUNTRY_CODE.match(digits)
        if code is None:
            if len(digits) > 2:
                return _NO_PLAN
            continue
        if (
            code[0] == "1"
            and not NORTH_AMERICAN.fullmatch(digits)
            and not _THREE_THREE_FOUR.search(text, group.start() - 9, group.end())
        ):
            continue
        if len(digits) - len(code[0]) in national_lengths(code[0]):
            best = group.end()
    return _NO_PLAN if best is None else _finish(text, start, best)


def _judge_north_american(text: str, start: int, end: int) -> Span | Refusal:
    first, second = text[end - 9], text[end - 5]
    if first != second and first not in " )" and text[start] != "(":
        return _NO_PLAN
    before = char_at(text, start - 1)
    if before and before in " .-" and char_at(text, start - 2) == "1":
        ahead = char_at(text, start - 3)
        if ahead == "+":
            start -= 3
        elif not ahead or not (is_word(ahead) or ahead in ".-"):
            start -= 2
        before = char_at(text, start - 1)
    if is_word(before) or before in (".", "-", "+", "/"):
        return PART_OF_MORE
    if first == second == " " and text[start] != "(":
        if _among_columns(text, start, end) or text[end - 4 : end] in _ROUND:
            return _COLUMNS  # three columns of a table of numbers look the same
        if _named_otherwise(text, start):
            return _NAMED_OTHERWISE
    return _finish(text, start, end)


def _judge_local(text: str, start: int, end: int) -> Span | Refusal:
    before = char_at(text, start - 1)
    if (
        is_word(before)
        or before in (".", "-", "/", "#", "+", "$", "@", "~", "[")
        or char_at(text, end) in ("%", "@", "_")
    ):
        return PART_OF_MORE
    return _NAMED_OTHERWISE if _named_otherwise(text, start) else _finish(text, start, end)


def _judge_national(text: str, _start: int, end: int) -> Span | Refusal:
    """`end` is within the second group."""
    trunk = _TRUNK.search(text, max(0, end - 13), end)
    if trunk is None:
        return _NO_PLAN
    start = trunk.start()
    before = char_at(text, start - 1)
    if (text[start] == "(" and is_word(before)) or (before == "," and char_at(text, start - 2).isdigit()):
        return PART_OF_MORE
    written = _NATIONAL.match(text, start, start + _LONGEST)
    if written is None or _DATE.match(text, start):
        return _NO_PLAN
    groups = _GROUP.findall(written[0])
    end = written.end()
    while len("".join(groups)) > 12 and len(groups) > 2:
        end -= len(groups.pop()) + 1
    if not _is_national(groups, bracketed=text[start] == "("):
        return _NO_PLAN
    if "." in written[0] and sum(map(len, groups)) > 11:
        return _NO_PLAN
    if set(text[start:end]) <= set("0123456789 ") and _among_columns(text, start, end):
        return _COLUMNS
    return _NAMED_OTHERWISE if _named_otherwise(text, start) else _finish(text, start, end)


def _is_national(groups: list[str], *, bracketed: bool) -> bool:
    """Whether digits are grouped as behind a trunk zero: 06 12 34 56 78, 020 7946 0958, 030/901820, 08-123 456 78."""
    area, rest = groups[0], groups[1:]
    total = len(area) + sum(map(len, rest))
    if not rest or not 9 - bracketed <= total <= 12:
        return False
    if len(rest) > 1 and all(group[0] == "0" and len(group) == len(area) for group in rest):
        return False  # a table of padded numbers
    if [len(area), *map(len, rest)] == [3, 2, 4]:
        return False  # a social security number
    if len(area) == 2 and len(rest[0]) == 2 and not bracketed:
        return len(rest) == 4 and all(len(group) == 2 for group in rest)
    return len(rest[0]) >= 2 and len(rest[-1]) >= 2


def _judge_grouped(text: str, start: int, end: int) -> Span | Refusal:
    before = char_at(text, start - 1)
    if is_word(before) or before in (".", "-", "/", "+", "(", "_"):
        return PART_OF_MORE
    if _among_columns(text, start, end) or (text[start] != "(" and _named_otherwise(text, start)):
        return _COLUMNS
    return _finish(text, start, end)


_NEXT: Final = r"(?:[ .-]|\xc2\xa0)"
PHONE: Final = Detector(
    "phone",
    (
        Expression(r"\+\(?[1-9][\d (-]", _judge_plus, "a + and a country code"),
        Expression(rf"{EDGE}00[ .-]?[1-9][\d (.-]", _judge_zeros, "00 and a country code", anchor=True),
        Expression(rf"[2-9]\d\d{_NEXT}[2-9]\d\d{_NEXT}\d{{4}}", _judge_north_american, "3, 3 and 4 digits"),
        Expression(r"\([1-9]\d\d\)[ .-]?\d{3}[ .-]?\d{4}", _judge_north_american, "an area code in brackets"),
        Expression(r"[2-9]\d\d-\d{4}", _judge_local, "3 and 4 digits"),
        Expression(
            rf"{EDGE}0[1-9]\d{{0,3}}(?:\)[ -]?|\) ?/ ?| ?/ ?| ?- ?| \xe2\x80\x93 |[ .]|\xc2\xa0)\d\d[ ./-]?\d",
            _judge_national,
            "a trunk zero and groups",
            anchor=True,
        ),
        Expression(r"\([1-9]\d\) ?9?\d{4}[ -]\d{4}\b", _judge_grouped, "an area code in brackets"),
        Expression(r"\b1[38]00[ -]\d{3}[ -]\d{3}\b", _judge_grouped, "4, 3 and 3 digits"),
        Expression(r"\b[1-9]\d-\d{4}-\d{4}\b", _judge_grouped, "2, 4 and 4 digits"),
        Expression(r"\b1[3-9]\d[ -]\d{4}[ -]\d{4}\b", _judge_grouped, "3, 4 and 4 digits"),
        Expression(r"\b[78][ -]?\(?\d{3}\)?[ -]\d{3}[ -]\d\d[ -]\d\d\b", _judge_grouped, "1, 3, 3, 2 and 2 digits"),
        AFTER_WORD,
    ),
)
