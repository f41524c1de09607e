"""Marks: what stands in a text instead of a hit, and how it is known again when the text comes back.

Invariant: a mark shows nothing of the value but what its action promises, and `mark_pattern` finds every mark that
`Marks.make` makes.
"""

import hmac
import re
from collections.abc import Iterable
from typing import Final

from sluice_redact.policy import Policy

MARK: Final = "[REDACTED]"
_MASK: Final = "****"
TAIL: Final = 4
"""Characters of a value that `Mask` keeps."""
_SHORTEST_WITH_TAIL: Final = 8
_TOKEN_LETTERS: Final = 16
_TO_LETTERS: Final = str.maketrans("0123456789abcdef", "abcdefghijklmnop")
"""Tokens are letters only, so that none can hold a number that somebody wants to hide from us."""
_KEPT: Final = r"[A-Za-z0-9.@ -]"
_UNKEPT: Final = re.compile(r"[^A-Za-z0-9.@ -]")


class Marks:
    """The marks of one policy, with the key of one tenant; without a key, `Hash` shows only where a token would be."""

    def __init__(self, policy: Policy, key: bytes | None) -> None:
        self._actions = policy.all_actions
        self._named = policy.style == "Named"
        self._key = key

    def make(self, name: str, value: str) -> str:
        """What stands in the place of this hit of the detector or rule."""
        action = self._actions[name]
        if action == "Mask":
            return _MASK + self._tail(value)
        if action == "Hash":
            return f"[{name.upper()}:{self._token(name, value)}]"
        return f"[{name.upper()}]" if self._named else MARK

    def _tail(self, value: str) -> str:
        """What of the value stays readable: its last four characters where it is long enough."""
        return "" if len(value) < _SHORTEST_WITH_TAIL else _UNKEPT.sub("", value[-TAIL:])

    def _token(self, name: str, value: str) -> str:
        if self._key is None:
            return "a" * _TOKEN_LETTERS
        digest = hmac.digest(self._key, f"{name}\0{value}".encode(), "sha256")
        return digest.hex()[:_TOKEN_LETTERS].translate(_TO_LETTERS)


def mark_pattern(names: Iterable[str]) -> str:
    """An expression for the marks of these detectors and rules, to find them with `re`.

    What stands behind asterisks is the end that a mask left where it cannot be the beginning of something longer.
    """
    return rf"{_brackets(names)}|\*{{4,}}(?:{_KEPT}{{1,{TAIL}}}(?!{_KEPT}))?"


def mark_sign(names: Iterable[str]) -> str:
    """The same to know a text with marks by, in the dialect of Hyperscan."""
    return rf"{_brackets(names)}|\*{{4}}"


def _brackets(names: Iterable[str]) -> str:
    return rf"\[(?:REDACTED|(?:{'|'.join(name.upper() for name in names)})(?::[a-p]{{{_TOKEN_LETTERS}}})?)\]"
