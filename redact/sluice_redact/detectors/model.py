"""Detector: the expressions that nominate candidates, and the judges that accept or refuse them.

It exists so that the scanner knows nothing of any one kind of secret. Two rules make that sound:

- Expressions match bytes of UTF-8, and none may match the byte 0xFF (write character classes out, or exclude it),
  but for `EDGE` at the beginning of an anchor: it never occurs in UTF-8, stands before every record of a scan, and
  separates the pieces of a record around a mark.
- Hyperscan reports every end of a match but only the leftmost start of each end. So an expression must be such
  that an end has only one start worth judging, or be a mere anchor from which its judge finds the extent; else an
  early false start hides the true one.

Judges must look at a bounded neighbourhood of the candidate, or at text no other candidate makes them look at again:
that keeps redaction linear in the length of the text.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

Span = tuple[int, int]


class Refusal(NamedTuple):
    """Why a candidate is no hit, in words for whoever asks for an explanation. Holds nothing of the text."""

    why: str
    final: bool = False
    """Whether it is none whatever stands around it; spares judging the text again when its neighbours are gone."""


Judge = Callable[[str, int, int], Span | Refusal]
"""`(text, start, end)` of a candidate, in characters -> the span that is a hit, or why there is none."""

WALL: Final = "\udcff"
"""Stands in a text for each mark in it; `surrogateescape` makes it the byte 0xFF. No judge may look across it."""


EDGE: Final = r"[^0-9A-Za-z_.:/#$+\-]"
"""What can stand before a number that is not a part of something longer; the beginning of a record, too."""


class Expression(NamedTuple):
    """One pattern in Hyperscan's dialect.

    Without a judge it is a veto: it refuses the candidates of the same detector that end where it ends.
    An anchor only has an end (its start is given as 0), which is cheaper to find.
    """

    pattern: str
    judge: Judge | None
    what: str
    """What it finds, in a few words; of a veto, what the candidate is instead."""
    caseless: bool = False
    anchor: bool = False
    greedy: bool = False
    """Its hits take all they can, so that what it nominates within one of them needs no judging."""


class Detector(NamedTuple):
    """A kind of secret: its name in policies and counts, and how it is found."""

    name: str
    expressions: tuple[Expression, ...]


PART_OF_MORE: Final = Refusal("it is a part of something longer")


def is_word(char: str) -> bool:
    """Whether the character is an ASCII letter, digit or underscore (what `\\b` means to the byte patterns)."""
    return char.isascii() and (char.isalnum() or char == "_")


def char_at(text: str, index: int) -> str:
    """The character at the index, or an empty string outside the text."""
    return text[index] if 0 <= index < len(text) else ""
