"""Structured values: their strings taken out to be judged as texts, and put back.

Invariant: nothing is judged twice and keys never change; what a name alone gives away is blotted out whole, whatever
it is made of.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from sluice_redact.detectors.assignment import is_secret_name, snake_case
from sluice_redact.detectors.secrecy import is_placeholder, looks_random
from sluice_redact.marks import Marks
from sluice_redact.policy import Policy

# Integers of fewer digits cannot be a card number, and nothing else is found in bare digits.
_LEAST_JUDGED: Final = 10**11
_FEWEST_PHONE_DIGITS: Final = 7
_NAMES: Final = {
    **dict.fromkeys(("ssn", "us_ssn", "social_security", "social_security_number", "social_security_no"), "us_ssn"),
    **dict.fromkeys(
        (
            "credit_card",
            "credit_card_number",
            "card_number",
            "cardnumber",
            "creditcard",
            "cc_number",
            "cvv",
            "cvc",
            "cvv2",
        ),
        "credit_card",
    ),
    **dict.fromkeys(("iban", "iban_number"), "iban"),
    **dict.fromkeys(
        ("authorization", "proxy_authorization", "cookie", "set_cookie", "x_authorization"), "authorization"
    ),
    **dict.fromkeys(
        ("phone", "phone_number", "phonenumber", "telephone", "mobile", "mobile_number", "cell_phone", "msisdn", "fax"),
        "phone",
    ),
    **dict.fromkeys(("private_key", "privatekey", "ssh_key"), "private_key"),
}


@lru_cache(maxsize=4096)
def named_detector(key: str) -> tuple[str, bool] | None:
    """Which detector's values stand under the name, and whether the name alone is enough; None for any other name."""
    snake = snake_case(key)
    for suffix in (snake, *(snake.split("_", n)[-1] for n in range(1, min(snake.count("_"), 4) + 1))):
        if suffix in _NAMES:
            return _NAMES[suffix], _NAMES[suffix] != "phone"
    strong = is_secret_name(snake)
    return None if strong is None else ("password_assignment", strong)


class Pieces:
    """What of one value has to be judged, and what its names have judged already."""

    def __init__(self, value: Any, policy: Policy, marks: Marks, pattern: re.Pattern[str], first: int) -> None:
        """`first` is the index of the first of `texts` among the texts of all values. Raises RecursionError."""
        self.first = first
        self.texts: list[str] = []
        self.blotted: dict[str, int] = {}
        self._policy = policy
        self._marks = marks
        self._pattern = pattern
        self._marked: dict[int, str] = {}
        """By position in the walk: the mark of a value that was blotted out for its name."""
        self._walked = 0
        self._take(value)

    def rebuild(self, value: Any, replaced: Mapping[int, str]) -> Any:
        """The value with those of its texts replaced, by their index among all."""
        self._walked = 0
        self._index = self.first
        return self._rebuilt(value, replaced)

    def _take(self, value: Any) -> None:
        if isinstance(value, str):
            self.texts.append(value)
        elif isinstance(value, dict):
            for key, item in value.items():
                self._walked += 1
                if not self._blot(key, item):
                    self._take(item)
        elif isinstance(value, list | tuple):
            for item in value:
                self._take(item)
        elif _is_judged(value):
            self.texts.append(str(value))

    def _blot(self, key: Any, item: Any) -> bool:
        named = named_detector(key) if isinstance(key, str) else None
        if named is None or self._policy.actions[named[0]] == "Keep":
            return False
        detector, sure = named
        written = item if isinstance(item, str) else str(item)
        if item is None or isinstance(item, bool) or not written or self._pattern.fullmatch(written):
            return False
        if not sure and not _is_worth(detector, written):
            return False
        if isinstance(item, str) and is_placeholder(item):
            return False
        self._marked[self._walked] = self._marks.make(detector, written)
        self.blotted[detector] = self.blotted.get(detector, 0) + 1
        return True

    def _rebuilt(self, value: Any, replaced: Mapping[int, str]) -> Any:
        if isinstance(value, str):
            self._index += 1
            return replaced.get(self._index - 1, value)
        if isinstance(value, dict):
            copy: dict[Any, Any] = {}
            for key, item in value.items():
                self._walked += 1
                mark = self._marked.get(self._walked)
                copy[key] = self._rebuilt(item, replaced) if mark is None else mark
            return copy
        if isinstance(value, list | tuple):
            return [self._rebuilt(item, replaced) for item in value]
        if _is_judged(value):
            self._index += 1
            return replaced.get(self._index - 1, value)
        return value


def _is_judged(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= _LEAST_JUDGED


def _is_worth(detector: str, written: str) -> bool:
    if detector == "phone":
        return sum(map(str.isdigit, written)) >= _FEWEST_PHONE_DIGITS
    return looks_random(written)
