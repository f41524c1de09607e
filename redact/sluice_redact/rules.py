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
_MOST_MEMORY: Final = 8 << 20
"""Bytes that RE2 may use for one pattern, its program and its states together; it takes them as it needs them."""
_LONGEST_PROGRAM: Final = 300
_LONGEST_PROGRAMS: Final = 1200
"""Instructions of one pattern, and of all. Where states do not fit into memory, each costs its time at every byte."""
NARROWING_GROUP: Final = "secret"
_WHERE: Final = re.compile(r": .*", re.DOTALL)


class Rules:
    """Compiled rules. Safe to share between threads. Raises `PolicyError` when they cannot be used."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        if len(rules) > MOST_RULES:
            raise PolicyError(f"There are {len(rules)} rules: at most {MOST_RULES} are possible.")
        self._compiled = [(rule.name, _compile(rule)) for rule in rules]
        if sum(pattern.programsize for _, pattern in self._compiled) > _LONGEST_PROGRAMS:
            raise PolicyError("All rules together are too large: repeat less, or have fewer.")
        # Most texts hold none: one search says so. Where the union would be too large, each is asked by itself.
        self._any = _compile_union([rule.pattern for rule in rules])

    def find(self, text: str) -> list[Span]:
        """The hits of all rules, which may overlap. Nothing matches across a mark.

        A mark is a line's end to them: `.` and `\\S` stop at it, and it is no edge of the text to `^` and `$`.
        """
        if WALL not in text:
            return self._find(text, 0, len(text))
        spans: list[Span] = []
        position = 0
        pieces = text.split(WALL)
        for number, piece in enumerate(pieces):
            before, after = "\n" * (number > 0), "\n" * (number + 1 < len(pieces))
            found = self._find(before + piece + after, len(before), len(before) + len(piece))
            spans += [(position + start, position + end, name) for start, end, name in found]
            position += len(piece) + 1
        return spans

    def _find(self, text: str, first: int, last: int) -> list[Span]:
        """The hits within `text[first:last]`, from where that begins; hits of one rule that touch are one."""
        if first == last or (self._any is not None and self._any.search(text) is None):
            return []
        spans: list[Span] = []
        for name, pattern in self._compiled:
            group = pattern.groupindex.get(NARROWING_GROUP, 0)
            for match in pattern.finditer(text):
                start, end = match.span(group)
                start, end = max(start, first) - first, min(end, last) - first
                if spans and spans[-1][2] == name and spans[-1][1] == start < end:
                    spans[-1] = (spans[-1][0], end, name)
                elif 0 <= start < end:
                    spans.append((start, end, name))
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
    except UnicodeEncodeError:
        raise PolicyError(f"Rule {rule.name}: the pattern has a lone surrogate.") from None
    except re2.error as error:
        said = error.args[0].decode(errors="replace") if error.args and isinstance(error.args[0], bytes) else str(error)
        raise PolicyError(
            f"Rule {rule.name}: {_WHERE.sub('', said)}. Patterns have RE2's syntax: no look-around and no"
            " back-references, and they must stay small when repeated."
        ) from None
    if pattern.programsize > _LONGEST_PROGRAM:
        raise PolicyError(
            f"Rule {rule.name}: the pattern must stay small when repeated: it has counts that are too high."
        )
    if pattern.search("") is not None:
        raise PolicyError(f"Rule {rule.name}: the pattern matches the empty text, so it would match everywhere.")
    return pattern


def _compile_union(patterns: Sequence[str]) -> Any:
    if not patterns:
        return None
    try:
        # Group names may recur among rules, and flags such as (?i) end with their group.
        union = "|".join(f"(?:{pattern.replace('(?P<' + NARROWING_GROUP + '>', '(')})" for pattern in patterns)
        return re2.compile(union, _options(2 * _MOST_MEMORY))
    except re2.error:
        return None
