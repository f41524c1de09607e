"""Values that a name gives away: `password=...`, `"client_secret": "..."`, `--token ...`, `<apiKey>...</apiKey>`.

Invariant: only the value is a hit, never the name, the quotes or what follows, so the text keeps its syntax; what
merely talks of a password ("password: required", `password = getPassword()`, `${PASSWORD}`) is none.
"""

import re
from typing import Final, NamedTuple

from sluice_redact.detectors.model import WALL, Detector, Expression, Refusal, Span, char_at
from sluice_redact.detectors.secrecy import is_placeholder, looks_random

_LONGEST_NAME: Final = 64
_LONGEST_VALUE: Final = 1024
_NAME: Final = re.compile(r"[A-Za-z0-9_.$@\-\u00c0-\u00ff]*$")
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[.\-$@]+")
# Of names in snake case. Those after the bar are words of other names as well, and need a boundary.
_STRONG: Final = re.compile(
    r"(?:password|passwd|passphrase|passcode|passwort|kennwort|contrase[nñ]a|passe"
    r"|api_?key|api_?secret|secret_?key|(?:client|app|consumer|shared|signing|webhook)_?secret"
    r"|(?:access|auth|refresh|bearer|session|bot|personal|private|deploy|vault|api)_?token|(?:access|private|encryption|master|signing)_?key"
    r"|(?:\b|_)(?:pwd|psw|pass))$"
)
_WEAK: Final = re.compile(
    r"(?<!next)(?<!page)(?<!cursor)(?<!continuation)(?<!public_key)(?:\b|_)(?:token|secret|credentials?|auth_?key|service_?key)$"
)

# What is between a name and its value, read from the end of the name.
_SIGN: Final = re.compile(
    r"(?P<quote>\\*[\"'`]?\]?)"
    r"(?P<sign>\s{0,3}(?::=|=>|=(?!=)|:(?!:)|%3[dD])\s{0,3}|(?<=[\"'])\s{1,3}value\s?=\s?|>|[ \t]{1,2})"
)
_QUOTED: Final = re.compile(
    rf"(?P<quote>\\*[\"'`])(?P<value>(?:(?!(?P=quote))(?:\\[^\n{WALL}]|[^\\\n{WALL}]))*+)(?P=quote)"
)
_BARE: Final = re.compile(rf"[^\s\"'`,;<>(){{}}\[\]|\\{WALL}]+")
_NEXT_PAIR: Final = re.compile(r"&[\w.\-]*=?")
_IN_ELEMENT: Final = re.compile(rf"[^<>\s{WALL}][^<>\n{WALL}]*")
_SENTENCE: Final = re.compile(r"[A-Za-zÀ-ÿ]+[,:]?(?: [A-Za-zÀ-ÿ0-9'\u2019-]+[,.:;!?]?)+")

_NO_NAME: Final = Refusal("the name is of something else")
_NOT_ASSIGNED: Final = Refusal("nothing is assigned to the name")
_PLACEHOLDER: Final = Refusal("the value is a placeholder, a reference or a word that says something of it")
_PROSE: Final = Refusal("it is a sentence about one")
_TOO_PLAIN: Final = Refusal("such a name needs a value that looks like a secret")


def snake_case(name: str) -> str:
    """`clientSecret`, `Client-Secret` and `client.secret` are one name, `client_secret`."""
    return _HUMP.sub("_", name).lower()


def is_secret_name(snake: str) -> bool | None:
    """Whether the name in snake case is that of a secret for sure, or only when the value looks like one; else None."""
    if _STRONG.search(snake):
        return True
    return False if _WEAK.search(snake) else None


class _Name(NamedTuple):
    written: str
    start: int
    end: int
    strong: bool


def _judge(text: str, _start: int, end: int) -> Span | Refusal:
    """`end` is one to three characters behind the name."""
    name = _name(text, end)
    if name is None:
        return _NO_NAME
    found = _SIGN.match(text, name.end, name.end + 16)
    if found is None:
        return _NOT_ASSIGNED
    sign = found["sign"].strip()
    if sign == ">":
        return _judge_element(text, name, found.end())
    quoted = _QUOTED.match(text, found.end(), found.end() + _LONGEST_VALUE)
    if not sign and quoted is None and not name.written.startswith("--"):
        return _NOT_ASSIGNED
    if quoted is not None:
        return _judge_quoted(quoted, name)
    return _judge_bare(text, name, found)


def _name(text: str, end: int) -> _Name | None:
    stop = end
    while stop > 0 and text[stop - 1] in " \t=:>%\"'`\\]":
        stop -= 1
    found = _NAME.search(text, max(0, stop - _LONGEST_NAME), stop)
    if found is None:
        return None
    strong = is_secret_name(snake_case(found[0]))
    return None if strong is None else _Name(found[0], found.start(), stop, strong)


def _judge_quoted(quoted: re.Match[str], name: _Name) -> Span | Refusal:
    value = quoted["value"]
    if is_placeholder(value):
        return _PLACEHOLDER
    if _SENTENCE.fullmatch(value) and "phrase" not in name.written.lower():
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
    if char_at(text, name.start - 1) in ("?", "&") or "=" in value:
        value = _NEXT_PAIR.split(value, maxsplit=1)[0]
    if found.end() == len(text) or text[found.end()].isspace():
        value = value.rstrip(".:")
    end = start + len(value)
    if is_placeholder(value) or char_at(text, end) in ("(", "[", "{"):
        return _PLACEHOLDER
    if value[0] == "/" and name.written.lower().endswith("pwd"):
        return _PLACEHOLDER  # the working directory
    if not name.strong and not looks_random(value):
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
            r"|pwd|psw|secret|token|credentials?|key)"
            r"(?:[\\\"'`\]=:>%]|\s{1,2}[=:\"'])",
            _judge,
            "a value after its name",
            caseless=True,
            anchor=True,
        ),
        Expression(
            r"--[a-z0-9-]{0,40}(?:pass(?:word|wd|phrase)?|pwd|secret|token|key) ",
            _judge,
            "an option of a command",
            caseless=True,
            anchor=True,
        ),
    ),
)
