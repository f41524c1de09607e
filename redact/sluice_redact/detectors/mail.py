"""E-mail addresses: anchored at the `@`, grown in both directions by the judge.

Invariant: the local part is searched back to the previous `@` at most, so that a text of nothing but addresses is
still read only once.
"""

import re
from typing import Final

from sluice_redact.detectors.model import Detector, Expression, Span, char_at

# Latin, Greek and Cyrillic letters count as part of an address; scripts written without spaces do not, or a sentence
# in front of an address would vanish with it.
_LETTER: Final = "A-Za-z0-9\u00c0-\u052f"
_LOCAL_REVERSED: Final = re.compile(f"[{_LETTER}_.%+'~!#$&*^-]+")
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
_VERSION: Final = re.compile(r"\d+\.\d", re.ASCII)


def _judge(text: str, start: int, _end: int) -> Span | None:
    """`start` is the `@`."""
    domain = _DOMAIN.match(text, start + 1)
    if domain is None or _NOT_TOP_LEVEL.fullmatch(domain[2]) or _VERSION.match(domain[1]):
        return None
    before = text[text.rfind("@", 0, start) + 1 : start]
    local = _LOCAL_REVERSED.match(before[::-1])
    if local is None:
        return None
    first = _LOCAL_FIRST.search(before, len(before) - local.end())
    if first is None or char_at(text, start - 1) == ".":
        return None
    return start - len(before) + first.start(), domain.end()


EMAIL: Final = Detector(
    "email",
    (Expression(r"@[A-Za-z0-9\x80-\xf4][A-Za-z0-9_\x80-\xf4-]*\.[A-Za-z0-9\x80-\xf4]", _judge),),
)
