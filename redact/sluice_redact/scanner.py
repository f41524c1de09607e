"""Scanner: many texts in, the accepted spans of each out, by one pass of one Hyperscan database.

It exists to keep the cost of a line without hits at its encoding. Texts are joined by the byte 0xFF, which UTF-8
never contains and no expression matches. Invariant: what is found in a text depends on that text alone.
"""

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, count
from operator import add, itemgetter
from typing import Any, Final

import hyperscan

from sluice_redact.detectors import REGISTRY
from sluice_redact.detectors.model import NEVER, Expression
from sluice_redact.errors import RedactionError

_SEPARATOR: Final = b"\xff"
# Bounds the memory of one pass: a candidate costs about 200 bytes, and a hostile text can hold one in 8 bytes.
_CHUNK_BYTES: Final = 1 << 20

_end: Final = itemgetter(2)
_RANK: Final = {detector.name: rank for rank, detector in enumerate(REGISTRY)}

Match = tuple[int, int, int, int, Any]
"""What Hyperscan reports: rule, start and end in bytes (start 0 for an anchor), flags, context."""

Span = tuple[int, int, str]
"""Start, end (in characters) and detector of a hit."""


Found = tuple[list[Span], bool]
"""What one text holds: spans in order, none overlapping, and whether a candidate was refused or overlapped."""


class Scanner:
    """A compiled set of detectors. Safe to share between threads: each scans with its own scratch space."""

    def __init__(self, names: Sequence[str]) -> None:
        rules = [
            (detector, expression)
            for detector in REGISTRY
            if detector.name in names
            for expression in detector.expressions
        ]
        self._names = [detector.name for detector, _ in rules]
        self._judges = [expression.judge for _, expression in rules]
        self._vetoing = {rule for rule, judge in enumerate(self._judges) if judge is None}
        self._local = threading.local()
        self._database = _compile([expression for _, expression in rules])

    def scan(self, texts: Sequence[str]) -> dict[int, Found | RedactionError]:
        """The texts that hold candidates, and those that cannot be scanned, by index. All others hold nothing."""
        found: dict[int, Found | RedactionError] = {}
        if self._database is None:
            return found
        try:
            encoded = [text.encode() for text in texts]
        except (UnicodeEncodeError, AttributeError):
            encoded = [_encode(index, text, found) for index, text in enumerate(texts)]
        for first, chunk in _chunks(encoded):
            self._scan_chunk(texts, first, chunk, found)
        return found

    def _scan_chunk(
        self, texts: Sequence[str], first: int, chunk: Sequence[bytes], found: dict[int, Found | RedactionError]
    ) -> None:
        try:
            matches = self._matches(_SEPARATOR.join(chunk))
        except hyperscan.error:
            if len(chunk) == 1:
                found[first] = RedactionError("The pattern engine failed on this text.")
            else:
                for index, single in enumerate(chunk, first):
                    self._scan_chunk(texts, index, [single], found)
            return
        if not matches:
            return
        starts = list(map(add, accumulate(map(len, chunk), initial=0), count()))  # the separators count too
        vetoes: set[tuple[str, int]] = set()
        if self._vetoing:
            vetoes = {(self._names[match[0]], match[2]) for match in matches if match[0] in self._vetoing}
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
        refused = False
        characters = None if len(text) == len(encoded) else _characters(encoded, base, candidates)
        for rule, start, end, _, _ in candidates:
            name = self._names[rule]
            judge = self._judges[rule]
            if judge is None:
                continue
            if vetoes and (name, end) in vetoes:
                refused = True
                continue
            if characters is None:
                span = judge(text, start - base, end - base)
            else:
                span = judge(text, characters[start], characters[end])
            if span is None:
                refused = True
            elif span is not NEVER:
                spans.append((span[0], span[1], name))
        if len(spans) > 1:
            distinct = set(spans)
            spans = resolve(list(distinct))
            refused = refused or len(spans) < len(distinct)
        return spans, refused


def resolve(spans: list[Span]) -> list[Span]:
    """The spans in order, of overlapping ones the longest.

    Of equally long ones the earlier stays, then that of the detector with the lower rank.
    """
    spans.sort()
    reach = 0
    for start, end, _ in spans:
        if start < reach:
            break
        reach = end
    else:
        return spans
    kept: list[Span] = []
    for span in sorted(spans, key=lambda span: (span[0] - span[1], span[0], _RANK[span[2]])):
        position = bisect_right(kept, (span[0], span[1], ""))
        free_before = position == 0 or kept[position - 1][1] <= span[0]
        if free_before and (position == len(kept) or kept[position][0] >= span[1]):
            kept.insert(position, span)
    return kept


def _compile(expressions: Sequence[Expression]) -> "hyperscan.Database | None":
    if not expressions:
        return None
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


def _characters(encoded: bytes, base: int, candidates: list[Match]) -> dict[int, int]:
    """Offset of a candidate -> offset in characters, in one walk; one within a character counts as its end."""
    translated: dict[int, int] = {}
    byte = char = 0
    for offset in sorted({offset for match in candidates for offset in match[1:3]}):
        stop = max(offset - base, 0)
        while stop < len(encoded) and encoded[stop] & 0xC0 == 0x80:
            stop += 1
        char += len(encoded[byte:stop].decode())
        byte = stop
        translated[offset] = char
    return translated
