"""Spans: pieces of a text that belong to a detector, and which of them stay where several overlap.

Invariant: the answer does not depend on the order of the question.
"""

from bisect import bisect_right
from collections.abc import Mapping

Span = tuple[int, int, str]
"""Start, end (in characters) and name of the detector or rule."""


def resolve(spans: list[Span], rank: Mapping[str, int]) -> list[Span]:
    """The spans in order, of overlapping ones the longest.

    Of equally long ones the earlier stays, then that of the name with the lower rank.
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
    for span in sorted(spans, key=lambda span: (span[0] - span[1], span[0], rank[span[2]])):
        position = bisect_right(kept, (span[0], span[1], ""))
        free_before = position == 0 or kept[position - 1][1] <= span[0]
        if free_before and (position == len(kept) or kept[position][0] >= span[1]):
            kept.insert(position, span)
    return kept


def absorb(spans: list[Span], more: list[Span]) -> list[Span]:
    """The spans, in order, with later found ones in which those that they touch disappear."""
    later = set(more)
    merged: list[Span] = []
    for span in sorted(spans + more):
        start, end, name = span
        if merged and start < merged[-1][1]:
            first, last, earlier = merged[-1]
            merged[-1] = (first, max(last, end), name if span in later else earlier)
        else:
            merged.append(span)
    return merged
