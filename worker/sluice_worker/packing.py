"""Records of one tenant's batch packed into as few letters as hold them: pure.

Invariant: every record of the batch is in exactly one letter, with the id and the version it has, and a letter is
larger than the target only if it holds a single record.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

import msgspec

from sluice_core.envelope import Submission, encode_submission
from sluice_core.letter import pick_out
from sluice_core.limits import ENVELOPE_BYTES
from sluice_worker.handle import Item

_ENVELOPE_OVERHEAD = 16
"""Bytes around the submissions of an envelope, at most."""


def pack(batch: Sequence[Item], most_bytes: int = ENVELOPE_BYTES) -> Iterator[list[tuple[Submission, list[Item]]]]:
    """For each letter its submissions, each with the items that are in it; their `attempts` are one higher."""
    letter: list[tuple[Submission, list[Item]]] = []
    left = most_bytes - _ENVELOPE_OVERHEAD
    for _, of_one in groupby(batch, key=lambda item: id(item.submission)):
        for submission, part, size in _pieces(list(of_one), most_bytes - _ENVELOPE_OVERHEAD):
            if letter and size > left:
                yield letter
                letter, left = [], most_bytes - _ENVELOPE_OVERHEAD
            letter.append((submission, part))
            left -= size
    if letter:
        yield letter


def alone(item: Item) -> Submission:
    """One record as a submission that can travel alone."""
    return pick_out(item.submission, [item.position], [item.version])


def _pieces(part: list[Item], most_bytes: int) -> Iterator[tuple[Submission, list[Item], int]]:
    """Records of one submission, halved until each half is small enough or a single record."""
    first = part[0].submission
    picked = pick_out(first, [item.position for item in part], [item.version for item in part])
    picked = msgspec.structs.replace(picked, attempts=first.attempts + 1)
    size = len(encode_submission(picked))
    if size <= most_bytes or len(part) == 1:
        yield picked, part, size
        return
    middle = len(part) // 2
    yield from _pieces(part[:middle], most_bytes)
    yield from _pieces(part[middle:], most_bytes)
