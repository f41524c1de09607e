"""E-mail addresses: anchored at the `@`, grown in both directions by the judge.

Invariant: the local part is searched back to the previous `@` and through 320 characters at most, so that a text of
nothing but addresses is read once.
"""

import re
from typing import Final

from sluice_redact.detectors.model import Detector, Expression, Refusal, Span, char_at

# Latin, Greek and Cyrillic letters count as part of an address; scripts written without spaces do not, or a sentence
# in front of an address would vanish with it.
_LETTER: Final = "A-Za-z0-9\u00c0-\u052f"
_LOCAL_REVERSED: Final = re.compile(f"[{_LETTER}_.%+'~!#$&*^-]+")
_LONGEST_LOCAL: Final = 320
_LOCAL_FIRST: Final = re.compile(f"[{_LETTER}_+]")
_LABEL: Final = f"[{_LETTER}](?:[{_LETTER}_-]{{0,61}}[{_LETTER}])?"
_DOMAIN: Final = re.compile(
    rf"((?:{_LABEL}\.){{1,8}})(xn--[A-Za-z0-9-]{{2,59}}|[A-Za-z\u00c0-\u052f]{{2,24}})(?![{_LETTER}])"
)
# What stands in the place of a top-level domain in systemd units, retina images and object dumps.
_NOT_TOP_LEVEL: Final = re.compile(
    r"service|socket|slice|scope|timer|mount|automount|device|swap|png|jpe?g|gif|svg|webp|ico|css|m?js|json|html|xml"
    r"|ya?ml|txt|log|jar|war|class|exe|dll|conf|cfg|tmp|bak|gz|tgz|tar",
    re.IGNORECASE,
)
_NO_DOMAIN: Final = Refusal("what follows the @ is no domain: a unit, a file or a version")
_NO_LOCAL: Final = Refusal("nothing in front of the @ can be a mailbox")
# `user@` and `user:password@` in front of the host of a URL.
_USER_OF_URL: Final = re.compile(r":(?://|\\/\\/)[^\s/@\"'<>]{0,128}$")
_IN_URL: Final = Refusal("it is the user of a URL", final=True)
_VERSION: Final = re.compile(r"\d+\.\d", re.ASCII)


def _judge(text: str, start: int, _end: int) -> Span | Refusal:
    """`start` is the `@`."""
    found = _around(text, start, start + 1)
    if isinstance(found, Refusal) or char_at(text, found[0] - 1) not in (":", "/"):
        return found
    return _IN_URL if _USER_OF_URL.search(text, max(0, found[0] - 132), found[0]) else found


def _judge_encoded(text: str, start: int, _end: int) -> Span | Refusal:
    """`start` is the `%40` of a URL, which may have an address for a user."""
    return _around(text, start, start + 3)


def _around(text: str, start: int, after: int) -> Span | Refusal:
    domain = _DOMAIN.match(text, after)
    if domain is None or _NOT_TOP_LEVEL.fullmatch(domain[2]) or _VERSION.match(domain[1]):
        return _NO_DOMAIN
    before = text[max(text.rfind("@", 0, start) + 1, start - _LONGEST_LOCAL) : start]
    local = _LOCAL_REVERSED.match(before[::-1])
    if local is None:
        return _NO_LOCAL
    first = _LOCAL_FIRST.search(before, len(before) - local.end())
    if first is None or char_at(text, start - 1) == ".":
        return _NO_LOCAL
    return start - len(before) + first.start(), domain.end()


EMAIL: Final = Detector(
    "email",
    (
        Expression(
            r"@[A-Za-z0-9\x80-\xf4][A-Za-z0-9_\x80-\xf4-]*\.[A-Za-z0-9\x80-\xf4]", _judge, "an @ before a domain"
        ),
        Expression(r"%40[A-Za-z0-9][A-Za-z0-9_-]*\.[A-Za-z]", _judge_encoded, "an encoded @ before a domain"),
    ),
)
