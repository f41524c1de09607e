"""Redactor: a compiled policy, applied to texts and to JSON-like values.

It exists to turn spans into redacted text. Invariants: the answer has the length and order of the question, a text
without hits comes back as the same object, and a text that could not be judged comes back as an error, never as text.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import repeat
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from sluice_redact.errors import RedactionError
from sluice_redact.marks import MARK, Marks, mark_pattern, mark_sign
from sluice_redact.policy import DETECTORS, Policy
from sluice_redact.rules import Rules
from sluice_redact.scanner import RANK, Found, Scanner, compiled
from sluice_redact.spans import Span, absorb, resolve
from sluice_redact.syntax import JsonNumbers
from sluice_redact.values import Pieces
from sluice_redact.view import Place, View

_NO_HITS: Final[Mapping[str, int]] = MappingProxyType({})
# A chain of neighbours each of which is a hit only once the one before it is gone, and longer than this, is hostile.
_PASSES: Final = 8

Settled = dict[int, list[Span] | RedactionError]
"""What is known of texts by their index; of those left out, that they hold nothing."""


class Hit(NamedTuple):
    """A found value: `text[start:end]`, in characters."""

    detector: str
    start: int
    end: int


class Redacted(NamedTuple):
    """A text with its hits replaced, and how many hits of each detector there were (those above zero only)."""

    text: str
    hits: Mapping[str, int]


class RedactedValue(NamedTuple):
    """The same of a JSON-like value."""

    value: Any
    hits: Mapping[str, int]


class Redactor:
    """Compiles the policy when constructed. Safe to share between threads.

    `key` is the tenant's own, under which `Hash` makes its tokens; without one they show only where they would be.
    Raises `PolicyError` for rules that cannot be compiled.
    """

    def __init__(self, policy: Policy | None = None, key: bytes | None = None) -> None:
        self.policy = policy = policy or Policy()
        rules = policy.active_rules
        names = (*DETECTORS, *(rule.name for rule in policy.rules))
        self.marks = Marks(policy, key)
        self.mark_pattern = re.compile(mark_pattern(names))
        self.scanner: Scanner = compiled(policy.active, mark_sign(names))
        self._rules = Rules(rules) if rules else None
        self._rank = {**RANK, **{rule.name: len(RANK) + place for place, rule in enumerate(rules)}}
        self._plain = "Named" not in policy.style and set(policy.all_actions.values()) <= {"Replace", "Keep"}
        self._masks = "Mask" in policy.all_actions.values()

    def redact(self, texts: Sequence[str]) -> list[Redacted | RedactionError]:
        """Redact each text by itself, however many there are.

        A text that cannot be redacted (a lone surrogate, a failing detector) gets a `RedactionError` in its place.
        """
        results: list[Redacted | RedactionError] = list(
            map(tuple.__new__, repeat(Redacted), zip(texts, repeat(_NO_HITS), strict=False))
        )
        for index, spans in self._settle(texts).items():
            results[index] = spans if isinstance(spans, RedactionError) else self._replace(texts[index], spans)
        return results

    def scan(self, text: str) -> list[Hit]:
        """Where the hits are in the text: in order, not overlapping, offsets in characters.

        Raises `RedactionError` where `redact` would return it.
        """
        spans = self._settle([text]).get(0, [])
        if isinstance(spans, RedactionError):
            raise spans
        return [Hit(name, start, end) for start, end, name in spans]

    def redact_values(self, values: Sequence[Any]) -> list[RedactedValue | RedactionError]:
        """Redact every string inside the dicts and lists of each value; keys stay, and so does every other value.

        But for two things: what stands under a name such as `password` or `ssn` is blotted out whole, and an integer
        that is a hit becomes a mark. A value without hits comes back as the same object. A value of which one string
        cannot be redacted, or that is nested too deeply to walk, gets a `RedactionError` in its place.
        """
        texts: list[str] = []
        taken: list[Pieces | RedactionError] = []
        for value in values:
            try:
                pieces = Pieces(value, self.policy, self.marks, self.mark_pattern, len(texts))
            except RecursionError:
                taken.append(RedactionError("The value is nested too deeply to redact."))
            except Exception:  # noqa: BLE001 - fail closed: whatever it is made of costs this value alone
                taken.append(RedactionError("The value cannot be read."))
            else:
                texts += pieces.texts
                taken.append(pieces)
        settled = self._settle(texts)
        return [
            pieces if isinstance(pieces, RedactionError) else self._put_together(value, pieces, texts, settled)
            for value, pieces in zip(values, taken, strict=True)
        ]

    def _put_together(
        self, value: Any, pieces: Pieces, texts: Sequence[str], settled: Settled
    ) -> RedactedValue | RedactionError:
        counts = pieces.blotted
        replaced: dict[int, str] = {}
        for index in range(pieces.first, pieces.first + len(pieces.texts)):
            spans = settled.get(index)
            if not spans:
                continue
            if isinstance(spans, RedactionError):
                return spans
            result = self._replace(texts[index], spans)
            replaced[index] = result.text
            for name, count in result.hits.items():
                counts[name] = counts.get(name, 0) + count
        return RedactedValue(pieces.rebuild(value, replaced), counts) if counts else RedactedValue(value, _NO_HITS)

    def view(self, text: str, spans: Sequence[Span]) -> View:
        """The text as the judges see it with these hits in it."""
        redacted, places = self._render(text, spans)
        return View(spans, redacted, places, self.mark_pattern)

    def _settle(self, texts: Sequence[str]) -> Settled:
        settled: Settled = {}
        pending: dict[int, list[Span]] = {}
        for index, found in self._with_rules(texts, self.scanner.scan(texts)).items():
            if isinstance(found, RedactionError):
                settled[index] = found
                continue
            if found.spans:
                settled[index] = found.spans
            if found.marked or (found.spans and (found.unsure or self._masks)):
                pending[index] = found.spans
        for _ in range(_PASSES):
            if not pending:
                break
            pending = self._settle_views({i: self.view(texts[i], spans) for i, spans in pending.items()}, settled)
        return settled

    def _settle_views(self, views: Mapping[int, View], settled: Settled) -> dict[int, list[Span]]:
        """One more pass over these; returns what has to be seen once more."""
        pending: dict[int, list[Span]] = {}
        shown = [view.text for view in views.values()]
        places = list(views)
        for place, found in self._with_rules(shown, self.scanner.scan_views(shown)).items():
            index = places[place]
            if isinstance(found, RedactionError):
                settled[index] = found
                continue
            more = views[index].back(found.spans)
            if more:
                settled[index] = spans = absorb(list(views[index].spans), more)
                if found.unsure or self._masks:
                    pending[index] = spans
        return pending

    def _with_rules(
        self, texts: Sequence[str], found: dict[int, Found | RedactionError]
    ) -> dict[int, Found | RedactionError]:
        """What the tenant's rules find, beside what the detectors found."""
        if self._rules is None:
            return found
        for index, text in enumerate(texts):
            known = found.get(index, _NOTHING)
            if isinstance(known, RedactionError) or known.marked:
                continue
            own = self._rules.find(text)
            if own:
                every = list({*known.spans, *own})
                kept = resolve(every, self._rank)
                found[index] = Found(kept, known.unsure or len(kept) < len(every))
        return found

    def _replace(self, text: str, spans: Sequence[Span]) -> Redacted:
        if len(spans) == 1 and self._plain and text[0] not in "{[ \t\r\n":
            [(start, end, name)] = spans
            return Redacted(f"{text[:start]}{MARK}{text[end:]}", {name: 1})
        counts: dict[str, int] = {}
        for _, _, name in spans:
            counts[name] = counts.get(name, 0) + 1
        return Redacted(self._render(text, spans)[0], counts)

    def _render(self, text: str, spans: Sequence[Span]) -> tuple[str, list[Place]]:
        """The text with the marks of the spans in it, and where they are."""
        numbers = JsonNumbers(text)
        pieces: list[str] = []
        places: list[Place] = []
        position = written = 0
        for start, end, name in spans:
            quote = numbers.quote(start, end)
            mark = f"{quote}{self.marks.make(name, text[start:end])}{quote}"
            pieces += (text[position:start], mark)
            written += start - position
            places.append(Place(written, written + len(mark), start, end))
            written += len(mark)
            position = end
        pieces.append(text[position:])
        return "".join(pieces), places


_NOTHING: Final = Found([], unsure=False)
