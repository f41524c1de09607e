"""Structured values: their strings taken out to be judged as texts, and put back.

Invariant: nothing is judged twice and keys never change; what a name alone gives away is blotted out whole, whatever
it is made of.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from sluice_redact.detectors.secrecy import is_placeholder, looks_random
from sluice_redact.detectors.secret_names import is_secret_name, snake_case
from sluice_redact.marks import Marks
from sluice_redact.policy import Policy

# Integers of fewer digits cannot be a card number, and nothing else is found in bare digits.
_LEAST_JUDGED: Final = 10**11
_FEWEST_PHONE_DIGITS: Final = 7
_NAMES: Final = {
    name: detector
    for detector, names in {
        "us_ssn": "ssn us_ssn social_security social_security_number social_security_no",
        "credit_card": "credit_card credit_card_number card_number cardnumber creditcard cc_number cvv cvc cvv2",
        "iban": "iban iban_number",
        "authorization": "authorization proxy_authorization cookie set_cookie",
        "phone": "phone phone_number phonenumber telephone mobile mobile_number cell_phone msisdn fax",
        "private_key": "private_key privatekey ssh_key",
    }.items()
    for name in names.split()
}
# What is put behind a name and does not make it another: password1, new_password_2, password_confirmation, passwords.
_ENDING: Final = re.compile(r"[_\d]+$|_(?:confirmation|confirm|again|repeat|old|new|plain|plaintext|value|text)$")
_PAIR_NAMES: Final = ("name", "key")


class Named(NamedTuple):
    """What a name says of the value under it."""

    detector: str
    sure: bool
    """Whether the name alone is enough, or the value has to look like one."""


@lru_cache(maxsize=4096)
def named(key: str) -> Named | None:
    """Which detector's values stand under the name; None for any other name."""
    snake = snake_case(key.strip())
    while (shorter := _ENDING.sub("", snake)) != snake:
        snake = shorter
    for candidate in (snake, snake.removesuffix("s")):
        words = candidate.split("_")
        for first in range(max(0, len(words) - 4), len(words)):
            detector = _NAMES.get("_".join(words[first:]))
            if detector is not None:
                return Named(detector, detector != "phone")
        strong = is_secret_name(candidate)
        if strong is not None:
            return Named("password_assignment", strong)
    return None


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
        self._leaves = 0
        self._marked: dict[int, str] = {}
        """By number of the leaf: the mark of a value that was blotted out for its name."""
        self._take(value, None)

    def rebuild(self, value: Any, replaced: Mapping[int, str]) -> Any:
        """The value with those of its texts replaced, by their index among all."""
        self._leaves = 0
        self._index = self.first
        return self._rebuilt(value, None, replaced)

    def _take(self, value: Any, name: Named | None) -> None:
        if self._is_walked(value, name):
            for key, item in _items(value):
                self._take(item, self._named(value, key) or name)
            return
        self._leaves += 1
        if name is not None and self._is_worth(value, name):
            written = value if isinstance(value, str) else str(value)
            self._marked[self._leaves] = self._marks.make(name.detector, written)
            self.blotted[name.detector] = self.blotted.get(name.detector, 0) + 1
        elif isinstance(value, str):
            self.texts.append(value)
        elif _is_judged(value):
            self.texts.append(str(value))

    def _rebuilt(self, value: Any, name: Named | None, replaced: Mapping[int, str]) -> Any:
        if self._is_walked(value, name):
            parts = [
                (key, self._rebuilt(item, self._named(value, key) or name, replaced)) for key, item in _items(value)
            ]
            return dict(parts) if isinstance(value, dict) else [item for _, item in parts]
        self._leaves += 1
        mark = self._marked.get(self._leaves)
        if mark is not None:
            return mark
        if isinstance(value, str) or _is_judged(value):
            self._index += 1
            return replaced.get(self._index - 1, value)
        return value

    def _is_walked(self, value: Any, name: Named | None) -> bool:
        return isinstance(value, dict | list | tuple) and not (name is not None and name.sure and value)

    def _named(self, container: Any, key: Any) -> Named | None:
        """What the name of an item says, also where name and value are a pair: `{"name": "password", "value": ...}`."""
        if key == "value" and isinstance(container, dict):
            key = next((container[one] for one in _PAIR_NAMES if isinstance(container.get(one), str)), key)
        found = named(key) if isinstance(key, str) and len(key) <= _LONGEST_NAME else None
        return None if found is None or self._policy.actions[found.detector] == "Keep" else found

    def _is_worth(self, value: Any, name: Named) -> bool:
        if value is None or isinstance(value, bool) or value in ("", (), [], {}):
            return False
        written = value if isinstance(value, str) else str(value)
        if self._pattern.fullmatch(written):
            return False
        if name.detector == "phone":
            return sum(map(str.isdigit, written)) >= _FEWEST_PHONE_DIGITS
        return name.sure or (looks_random(written) and not is_placeholder(written))


_LONGEST_NAME: Final = 256


def _items(value: Any) -> Any:
    return value.items() if isinstance(value, dict) else enumerate(value)


def _is_judged(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= _LEAST_JUDGED
