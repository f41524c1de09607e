"""Rules: a tenant's own patterns, on an engine whose time is linear whatever the pattern.

RE2 and not Hyperscan, since whoever writes a pattern expects it to match as everywhere else: from the left, and
greedily. Invariant: a pattern that compiles here can neither hang, nor need more than its memory, nor be skipped.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

import re2

from sluice_redact.detectors.model import WALL
from sluice_redact.errors import PolicyError
from sluice_redact.policy import Rule
from sluice_redact.spans import Span

MOST_RULES: Final = 16
LONGEST_PATTERN: Final = 256
_MOST_MEMORY: Final = 2 << 20
"""Bytes that RE2 may use for one pattern, its program and its states together."""
NARROWING_GROUP: Final = "secret"
_WHERE: Final = re.compile(r": .*", re.DOTALL)


class Rules:
    """Compiled rules. Safe to share between threads. Raises `PolicyError` when they cannot be used."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        if len(rules) > MOST_RULES:
            raise PolicyError(f"There are {len(rules)} rules: at most {MOST_RULES} are possible.")
        self._compiled = [(rule.name, _compile(rule)) for rule in rules]
        # Most texts hold none: one search says so. Where the union would be too large, each is asked by itself.
        self._any = _compile_union([rule.pattern for rule in rules])

    def find(self, text: str) -> list[Span]:
        """The hits of all rules, which may overlap. A mark in the text is the end of a text, to `^` and `$` as well."""
        if WALL not in text:
            return self._find(text, 0)
        spans: list[Span] = []
        position = 0
        for piece in text.split(WALL):
            spans += self._find(piece, position)
            position += len(piece) + 1
        return spans

    def _find(self, text: str, offset: int) -> list[Span]:
        if not text or (self._any is not None and self._any.search(text) is None):
            return []
        spans: list[Span] = []
        for name, pattern in self._compiled:
            group = pattern.groupindex.get(NARROWING_GROUP, 0)
            for match in pattern.finditer(text):
                start, end = match.span(group)
                if 0 <= start < end:
                    spans.append((start + offset, end + offset, name))
        return spans


def _options(memory: int) -> Any:
    options = re2.Options()
    options.max_mem = memory
    options.log_errors = False  # it would write the pattern to standard error
    return options


def _compile(rule: Rule) -> Any:
    if len(rule.pattern) > LONGEST_PATTERN:
        raise PolicyError(f"Rule {rule.name}: the pattern is longer than {LONGEST_PATTERN} characters.")
    try:
        pattern = re2.compile(rule.pattern, _options(_MOST_MEMORY))
    except re2.error as error:
        said = error.args[0].decode(errors="replace") if error.args and isinstance(error.args[0], bytes) else str(error)
        raise PolicyError(
            f"Rule {rule.name}: {_WHERE.sub('', said)}. Patterns have RE2's syntax: no look-around and no"
            " back-references, and they must stay small when repeated."
        ) from None
    if pattern.search("") is not None:
        raise PolicyError(f"Rule {rule.name}: the pattern matches the empty text, so it would match everywhere.")
    return pattern


def _compile_union(patterns: Sequence[str]) -> Any:
    if not patterns:
        return None
    try:
        # Group names may recur among rules, and flags such as (?i) end with their group.
        union = "|".join(f"(?:{pattern.replace('(?P<' + NARROWING_GROUP + '>', '(')})" for pattern in patterns)
        return re2.compile(union, _options(_MOST_MEMORY * len(patterns)))
    except re2.error:
        return None
