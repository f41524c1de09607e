"""Values that a name gives away: `password=...`, `"client_secret": "..."`, `--token ...`, `<apiKey>...</apiKey>`.

Invariant: only the value is a hit, never the name, the quotes or what follows, so the text keeps its syntax; what
merely talks of a password ("password: required", `password = getPassword()`, `${PASSWORD}`) is none.
"""

import re
from typing import Final, NamedTuple

from sluice_redact.detectors.model import WALL, Detector, Expression, Refusal, Span, char_at
from sluice_redact.detectors.secrecy import begins_with_reference, is_placeholder, looks_random
from sluice_redact.detectors.secret_names import is_secret_name, snake_case

_LONGEST_NAME: Final = 64
_LONGEST_VALUE: Final = 1024
_BACKWARDS: Final = re.compile(r"[A-Za-z0-9_.$@\-\u00c0-\u00ff]*")
_SEPARATORS: Final = frozenset(" \t\r\n=:>%\"'`\\]-")
# What may stand between the name and the value of a pair: `name: password, value: ...`.
_PAIR: Final = re.compile(r"\\*[\"'`]?[\s,]{1,16}(?:- )?\\*[\"']?value$")
_ESCAPED: Final = re.compile(r"(?<=\\)u00[0-9a-fA-F]{2}|(?<=%)[0-9a-fA-F]{2}")
"""What an escaped `&` or `?` of a URL leaves at the beginning of a name."""
# What is between a name and its value, read from the end of the name.
_SIGN: Final = re.compile(
    r"(?P<quote>\\*[\"'`]?\]?)(?P<sign>\s{0,24}(?::=|=>|->|=(?!=)|:(?!:)|%3[dD])\s{0,24}"
    r"|[\s,]{1,16}(?:- )?\\*[\"']?value\\*[\"']?\s?[:=]\s?|>|[ \t]{1,2})"
)
_QUOTED: Final = re.compile(
    rf"(?P<quote>\\*[\"'`])(?P<value>(?:(?!(?P=quote))(?:\\[^\n{WALL}]|[^\\\n{WALL}]))*+)(?P=quote)"
)
# Up to a blank or a quote; commas, semicolons and closing brackets end a value only where something else goes on.
_BARE: Final = re.compile(
    rf"(?:[^\s\"'`,;|)\]}}>\\{WALL}]|'(?=[^\s,;)\]}}])"
    rf"|[,;|)\]}}>](?![\s\"'`\\{WALL}]|$|[A-Za-z_][\w. -]{{0,40}}=|[,;|)\]}}>]))+"
)
_CONNECTION: Final = re.compile(r";\s?[A-Za-z][\w ]*=")
_NEXT_PAIR: Final = re.compile(r"&(?:amp;)?[\w.\-]*=?|%26|\\u0026")
_IN_ELEMENT: Final = re.compile(rf"[^<>\s{WALL}][^<>\n{WALL}]*")
_SENTENCE: Final = re.compile(r"[A-Za-zÀ-ÿ]+[,:]?(?: [A-Za-zÀ-ÿ0-9'\u2019-]+[,.:;!?]?)+")
_TALKING: Final = re.compile(r"(?i:unexpected|unknown|invalid|illegal|missing|bad|next) $")

_NO_NAME: Final = Refusal("the name is of something else")
_NOT_ASSIGNED: Final = Refusal("nothing is assigned to the name")
_PLACEHOLDER: Final = Refusal("the value is a placeholder, a reference or a word that says something of it")
_PROSE: Final = Refusal("it is a sentence about one")
_TOO_PLAIN: Final = Refusal("such a name needs a value that looks like a secret")


class _Name(NamedTuple):
    written: str
    start: int
    end: int
    strong: bool


def _judge(text: str, _start: int, end: int) -> Span | Refusal:
    """`end` is a little behind the name."""
    name = _name(text, end)
    if name is None:
        return _NO_NAME
    found = _SIGN.match(text, name.end, name.end + 64)
    if found is None:
        return _NOT_ASSIGNED
    sign = found["sign"].strip()
    if sign == ">":
        return _judge_element(text, name, found.end())
    quoted = _QUOTED.match(text, found.end(), found.end() + _LONGEST_VALUE)
    if not sign and not name.written.startswith("--") and (quoted is None or not name.strong):
        return _NOT_ASSIGNED
    if not name.strong and _TALKING.search(text, max(0, name.start - 12), name.start):
        return _PROSE
    if quoted is not None:
        return _judge_quoted(text, quoted, name, in_data=bool(found["quote"]))
    return _judge_bare(text, name, found)


def _judge_identified(text: str, _start: int, end: int) -> Span | Refusal:
    """`end` is behind the quote that opens the value."""
    quoted = _QUOTED.match(text, end - 1, end + _LONGEST_VALUE)
    return _NOT_ASSIGNED if quoted is None else quoted.span("value")


def _name(text: str, end: int) -> _Name | None:
    stop = _before_separators(text, end)
    if text[max(0, stop - 5) : stop].lower() == "value":
        pair = _PAIR.search(text, max(0, stop - 28), stop)
        stop = _before_separators(text, pair.start()) if pair else stop
    backwards = _BACKWARDS.match(text[max(0, stop - _LONGEST_NAME) : stop][::-1])
    start = stop - (backwards.end() if backwards else 0)
    escaped = _ESCAPED.match(text, start, stop)
    start = escaped.end() if escaped else start
    written = text[start:stop]
    strong = is_secret_name(snake_case(written))
    return None if strong is None else _Name(written, start, stop, strong)


def _before_separators(text: str, end: int) -> int:
    while end > 0 and text[end - 1] in _SEPARATORS:
        end -= 1
    return end


def _judge_quoted(text: str, quoted: re.Match[str], name: _Name, *, in_data: bool) -> Span | Refusal:
    value = quoted["value"]
    if is_placeholder(value):
        return _PLACEHOLDER
    # In data a passphrase may look like a sentence; but so does what a form says of a field.
    if _SENTENCE.fullmatch(value) and "phrase" not in name.written.lower() and not (in_data and value.islower()):
        return _PROSE
    return quoted.span("value") if name.strong or looks_random(value) else _TOO_PLAIN


def _judge_element(text: str, name: _Name, start: int) -> Span | Refusal:
    value = _IN_ELEMENT.match(text, start, start + _LONGEST_VALUE)
    if value is None or char_at(text, name.start - 1) not in ("<", ":"):
        return _NOT_ASSIGNED
    return _PLACEHOLDER if is_placeholder(value[0]) else value.span()


def _judge_bare(text: str, name: _Name, sign: re.Match[str]) -> Span | Refusal:
    start = sign.end()
    found = _BARE.match(text, start, start + _LONGEST_VALUE)
    if found is None:
        return _NOT_ASSIGNED
    value = found[0]
    if char_at(text, name.start - 1) in ("?", "&", ";") or "=" in value:
        value = _NEXT_PAIR.split(value, maxsplit=1)[0]
        value = _CONNECTION.split(value, maxsplit=1)[0]
    if value == found[0] and (found.end() == len(text) or text[found.end()].isspace()):
        value = value.rstrip(".:")
    end = start + len(value)
    if is_placeholder(value) or begins_with_reference(text, start):
        return _PLACEHOLDER
    if name.written.lower().endswith("pwd") and value[0] == "/":
        return _PLACEHOLDER  # the working directory
    if (not name.strong or name.written.lower() == "pass") and not looks_random(value):
        return _TOO_PLAIN
    if text[start - 1].isspace() and value.isalpha() and value.islower() and not _is_setting(text, name, end):
        return _PROSE
    return start, end


def _is_setting(text: str, name: _Name, end: int) -> bool:
    """Whether name and value are all there is on the line."""
    line = text.rfind("\n", max(0, name.start - _LONGEST_NAME), name.start) + 1
    return not text[line : name.start].strip(" \t-\"'") and (end == len(text) or text[end] in "\r\n\\")


PASSWORD_ASSIGNMENT: Final = Detector(
    "password_assignment",
    (
        Expression(
            r"(?:pass(?:word|wd|phrase|code|wort)?|kennwort|contrase(?:n|\xc3\xb1)a|mot de passe"
            r"|pwd|psw|pw|secret|token|credentials?|key|key_base)"
            r"(?:[\\\"'`\]=:>%]|\s{1,24}[=:]|\s{1,2}[\"']| ?->|\s{1,16}(?:- )?value[:=])",
            _judge,
            "a value after its name",
            caseless=True,
            anchor=True,
            greedy=True,
        ),
        Expression(
            r"--[a-z0-9-]{0,40}(?:pass(?:word|wd|phrase)?|pwd|secret|token|key) ",
            _judge,
            "an option of a command",
            caseless=True,
            anchor=True,
        ),
        Expression(
            r"identified\s{1,4}by\s{1,4}[\"']", _judge_identified, "SQL's own words", caseless=True, anchor=True
        ),
    ),
)
