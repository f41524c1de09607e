"""Redactor: a compiled policy, applied to texts and to JSON-like values.

It exists to turn spans into redacted text. Invariants: the answer has the length and order of the question, a text
without hits comes back as the same object, and a text that could not be judged comes back as an error, never as text.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from sluice_redact.errors import RedactionError
from sluice_redact.policy import Policy
from sluice_redact.scanner import Scanner, Span

MARK: Final = "[REDACTED]"
_NO_HITS: Final[Mapping[str, int]] = MappingProxyType({})
# A value that was refused for what stood next to it may be one once its neighbour is gone, so such texts are judged
# again, to make redaction idempotent. A chain of such neighbours longer than this is hostile, not worth more time.
_PASSES: Final = 8


class Hit(NamedTuple):
    """A found value: `text[start:end]`, in characters."""

    detector: str
    start: int
    end: int


class Redacted(NamedTuple):
    """A text with its hits replaced, and how many hits of each detector there were (those above zero only)."""

    text: str
    hits: Mapping[str, int]


class Redactor:
    """Compiles the policy when constructed. Safe to share between threads."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.policy = policy or Policy()
        self._scanner = Scanner(self.policy.active)

    def redact(self, texts: Sequence[str]) -> list[Redacted | RedactionError]:
        """Redact each text by itself, however many there are.

        A text that cannot be redacted (a lone surrogate, a failing detector) gets a `RedactionError` in its place.
        """
        results: list[Redacted | RedactionError] = list(
            map(tuple.__new__, repeat(Redacted), zip(texts, repeat(_NO_HITS), strict=False))
        )
        pending: Sequence[int] = range(len(texts))
        batch = texts
        for _ in range(_PASSES):
            again: list[int] = []
            for position, found in self._scanner.scan(batch).items():
                index = pending[position]
                if isinstance(found, RedactionError):
                    results[index] = found
                elif found[0]:
                    spans, refused = found
                    results[index] = _replace(batch[position], spans, results[index])
                    if refused:
                        again.append(index)
            if not again:
                break
            pending = again
            batch = [result.text for index in again if isinstance(result := results[index], Redacted)]
        return results

    def scan(self, text: str) -> list[Hit]:
        """Where the hits are in the text: in order, not overlapping, offsets in characters.

        Raises `RedactionError` where `redact` would return it.
        """
        found = self._scanner.scan([text]).get(0)
        if isinstance(found, RedactionError):
            raise found
        return [Hit(name, start, end) for start, end, name in found[0]] if found else []

    def redact_values(self, value: Any) -> tuple[Any, Mapping[str, int]]:
        """Redact every string inside dicts and lists; keys and all other values stay.

        Returns the value (the same object when it has no hits, else a copy) and the hits of all its strings together.
        Raises `RedactionError` when one of the strings cannot be redacted, or the nesting is too deep to walk.
        """
        try:
            texts = list(_strings(value))
            results = self.redact(texts)
            counts: dict[str, int] = {}
            for result in results:
                if isinstance(result, RedactionError):
                    raise result
                _add(counts, result.hits)
            if not counts:
                return value, _NO_HITS
            return _rebuilt(value, (result.text for result in results if isinstance(result, Redacted))), counts
        except RecursionError:
            raise RedactionError("The value is nested too deeply to redact.") from None


def _replace(text: str, spans: Sequence[Span], earlier: Redacted | RedactionError) -> Redacted:
    counts = dict(earlier.hits) if isinstance(earlier, Redacted) else {}
    if len(spans) == 1 and not counts:
        [(start, end, detector)] = spans
        return Redacted(f"{text[:start]}{MARK}{text[end:]}", {detector: 1})
    pieces: list[str] = []
    position = 0
    for start, end, detector in spans:
        pieces.append(text[position:start])
        position = end
        counts[detector] = counts.get(detector, 0) + 1
    pieces.append(text[position:])
    return Redacted(MARK.join(pieces), counts)


def _add(counts: dict[str, int], hits: Mapping[str, int]) -> None:
    for detector, count in hits.items():
        counts[detector] = counts.get(detector, 0) + count


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)


def _rebuilt(value: Any, texts: Iterator[str]) -> Any:
    """The value with its strings taken from `texts`, in the order of `_strings`."""
    if isinstance(value, str):
        return next(texts)
    if isinstance(value, dict):
        return {key: _rebuilt(item, texts) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rebuilt(item, texts) for item in value]
    return value
