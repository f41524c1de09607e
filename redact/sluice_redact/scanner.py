"""Scanner: many texts in, the accepted spans of each out, by one pass of one Hyperscan database.

It exists to keep the cost of a line without hits at its encoding. Texts are joined by the byte 0xFF, which UTF-8
never contains and no expression matches. Invariant: what is found in a text depends on that text alone.
"""

import threading
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate, count
from operator import add, itemgetter
from typing import Any, Final, NamedTuple

import hyperscan

from sluice_redact.detectors import REGISTRY
from sluice_redact.detectors.model import Expression, Refusal
from sluice_redact.errors import RedactionError
from sluice_redact.spans import Span, resolve
from sluice_redact.syntax import outside_escape

_SEPARATOR: Final = b"\xff"
_ENCODED_WALL: Final = "surrogateescape"
# Bounds the memory of one pass: a candidate costs about 200 bytes, and a hostile text can hold one in 8 bytes.
_CHUNK_BYTES: Final = 1 << 20
_MOST_COMPILED: Final = 64

RANK: Final = {detector.name: rank for rank, detector in enumerate(REGISTRY)}

# What stands beside most hits. Beside anything else a hit may have hidden where its neighbour ends (10.0.0.1AKIA...).
_APART: Final = frozenset(["", *" \t\r\n\"'`.,:;/\\=()[]{}<>|&?@#-"])

_end: Final = itemgetter(2)

Match = tuple[int, int, int, int, Any]
"""What Hyperscan reports: expression, start and end in bytes (start 0 for an anchor), flags, context."""


class Found(NamedTuple):
    """What one text holds."""

    spans: list[Span]
    """In order, none overlapping."""
    unsure: bool
    """Whether there may be more once the spans are gone: a candidate was refused for what stands around it."""
    marked: bool = False
    """Whether there is a mark in it; then nothing was judged, for it has to be seen as a `View`."""


class Candidate(NamedTuple):
    """For explanations: what an expression nominated, and what became of it."""

    detector: str
    what: str
    start: int
    end: int
    refusal: Refusal | None


class Scanner:
    """A compiled set of detectors. Safe to share between threads: each scans with its own scratch space."""

    def __init__(self, names: Sequence[str], marks: str) -> None:
        """`marks` is an expression for the marks that make a text a marked one."""
        rules = [
            (detector.name, expression)
            for detector in REGISTRY
            if detector.name in names
            for expression in detector.expressions
        ]
        self._rules = [(name, expression.judge) for name, expression in rules]
        self._expressions = [expression for _, expression in rules]
        self._vetoing = {rule for rule, (_, judge) in enumerate(self._rules) if judge is None}
        self._mark = len(rules)
        self._local = threading.local()
        self._database = _compile([*self._expressions, Expression(marks, None, "")]) if rules else None

    def scan(self, texts: Sequence[str]) -> dict[int, Found | RedactionError]:
        """The texts that hold candidates, and those that cannot be scanned, by index. All others hold nothing."""
        found: dict[int, Found | RedactionError] = {}
        try:
            encoded = [text.encode() for text in texts]
        except (UnicodeEncodeError, AttributeError):
            encoded = [_encode(index, text, found) for index, text in enumerate(texts)]
        if self._database is not None:
            for first, chunk in _chunks(encoded):
                self._scan_chunk(texts, first, chunk, found)
        return found

    def scan_views(self, texts: Sequence[str]) -> dict[int, Found | RedactionError]:
        """The same for texts that were accepted before and in which walls stand for marks."""
        found: dict[int, Found | RedactionError] = {}
        if self._database is not None:
            for first, chunk in _chunks([text.encode(errors=_ENCODED_WALL) for text in texts]):
                self._scan_chunk(texts, first, chunk, found)
        return found

    def candidates(self, text: str) -> Iterator[Candidate]:
        """Every candidate of a view, with the span or the refusal its judge came to."""
        encoded = text.encode(errors=_ENCODED_WALL)
        matches = sorted(self._matches(_SEPARATOR + encoded), key=_end) if self._database is not None else []
        characters = _characters(encoded, 1, matches)
        vetoes = {(self._rules[match[0]][0], match[2]): match[0] for match in matches if match[0] in self._vetoing}
        for rule, start, end, _, _ in matches:
            if rule == self._mark:
                continue
            name, judge = self._rules[rule]
            if judge is None:
                continue
            expression = self._expressions[rule]
            first, last = characters[start], characters[end]
            veto = vetoes.get((name, end))
            if veto is not None:
                verdict: Any = Refusal(f"it is {self._expressions[veto].what}")
            else:
                verdict = judge(text, first, last)
            if isinstance(verdict, Refusal):
                yield Candidate(
                    name, expression.what, max(first, last - 24) if expression.anchor else first, last, verdict
                )
            else:
                yield Candidate(name, expression.what, verdict[0], verdict[1], None)

    def _scan_chunk(
        self, texts: Sequence[str], first: int, chunk: Sequence[bytes], found: dict[int, Found | RedactionError]
    ) -> None:
        try:
            matches = self._matches(_SEPARATOR + _SEPARATOR.join(chunk))
        except hyperscan.error:
            if len(chunk) == 1:
                found[first] = RedactionError("The pattern engine failed on this text.")
            else:
                for index, single in enumerate(chunk, first):
                    self._scan_chunk(texts, index, [single], found)
            return
        if not matches:
            return
        starts = list(map(add, accumulate(map(len, chunk), initial=0), count(1)))  # the separators count too
        vetoes: set[tuple[str, int]] = set()
        if self._vetoing:
            vetoes = {(self._rules[match[0]][0], match[2]) for match in matches if match[0] in self._vetoing}
        matches.sort(key=_end)
        ends = list(map(_end, matches))
        first_match = 0
        while first_match < len(matches):
            position = bisect_left(starts, ends[first_match]) - 1
            stop = bisect_left(ends, starts[position + 1], first_match)
            candidates = matches[first_match:stop]
            first_match = stop
            index = first + position
            try:
                found[index] = self._judge(texts[index], chunk[position], starts[position], candidates, vetoes)
            except Exception:  # noqa: BLE001 - fail closed: whatever a judge trips over costs this text alone
                found[index] = RedactionError("A detector failed on this text.")

    def _matches(self, data: bytes) -> list[Match]:
        scratch = getattr(self._local, "scratch", None)
        if scratch is None:
            scratch = self._local.scratch = hyperscan.Scratch(self._database)
        matches: list[Match] = []
        append = matches.append

        def on_match(*match: Any) -> None:
            append(match)

        assert self._database is not None  # noqa: S101
        self._database.scan(data, match_event_handler=on_match, scratch=scratch)
        return matches

    def _judge(
        self, text: str, encoded: bytes, base: int, candidates: list[Match], vetoes: set[tuple[str, int]]
    ) -> Found:
        """`base` is where the text begins in the offsets of the candidates."""
        spans: list[Span] = []
        unsure = False
        reach: dict[int, int] = {}
        characters = None if len(text) == len(encoded) else _characters(encoded, base, candidates)
        for rule, start, end, _, _ in candidates:
            if rule == self._mark:
                return Found([], unsure=True, marked=True)
            name, judge = self._rules[rule]
            if judge is None:
                continue
            if vetoes and (name, end) in vetoes:
                unsure = True
                continue
            if characters is None:
                first, last = start - base, end - base
            else:
                first, last = characters[start], characters[end]
            if last <= reach.get(rule, 0):
                continue
            verdict = judge(text, first, last)
            if isinstance(verdict, Refusal):
                unsure = unsure or not verdict.final
            else:
                first, last = verdict
                if text[first - 1] == "\\":
                    first = outside_escape(text, first, last)
                if text[last : last + 1] not in _APART or text[max(0, first - 1) : first] not in _APART:
                    unsure = True
                spans.append((first, last, name))
                if self._expressions[rule].greedy:
                    reach[rule] = last
        if len(spans) > 1:
            distinct = set(spans)
            spans = resolve(list(distinct), RANK)
            unsure = unsure or len(spans) < len(distinct)
        return Found(spans, unsure)


@lru_cache(maxsize=_MOST_COMPILED)
def compiled(names: tuple[str, ...], marks: str) -> Scanner:
    """The scanner for these detectors; policies that ask for the same share it."""
    return Scanner(names, marks)


def _compile(expressions: Sequence[Expression]) -> "hyperscan.Database":
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    flags = [
        (hyperscan.HS_FLAG_SOM_LEFTMOST if expression.judge and not expression.anchor else 0)
        | (hyperscan.HS_FLAG_CASELESS if expression.caseless else 0)
        for expression in expressions
    ]
    database.compile(
        expressions=[expression.pattern.encode() for expression in expressions],
        ids=list(range(len(expressions))),
        elements=len(expressions),
        flags=flags,
    )
    return database


def _encode(index: int, text: str, found: dict[int, Found | RedactionError]) -> bytes:
    """The text in UTF-8; nothing, and an error noted, where it has none."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        found[index] = RedactionError("The text has a lone surrogate, which UTF-8 cannot write.")
    except AttributeError:
        found[index] = RedactionError("The text is not a string.")
    return b""


def _chunks(encoded: Sequence[bytes]) -> Iterator[tuple[int, Sequence[bytes]]]:
    """Runs of texts of bounded size (or one text), each with the index of its first."""
    if sum(map(len, encoded)) <= _CHUNK_BYTES:
        yield 0, encoded
        return
    first = size = 0
    for index, text in enumerate(encoded):
        size += len(text) + 1
        if size > _CHUNK_BYTES and index > first:
            yield first, encoded[first:index]
            first, size = index, len(text) + 1
    yield first, encoded[first:]


def _characters(encoded: bytes, base: int, candidates: list[Match]) -> Mapping[int, int]:
    """Offset of a candidate -> offset in characters, in one walk; one within a character counts as its end."""
    translated: dict[int, int] = {}
    byte = char = 0
    for offset in sorted({offset for match in candidates for offset in match[1:3]}):
        stop = max(offset - base, 0)
        while stop < len(encoded) and encoded[stop] & 0xC0 == 0x80:
            stop += 1
        char += len(encoded[byte:stop].decode(errors=_ENCODED_WALL))
        byte = stop
        translated[offset] = char
    return translated
