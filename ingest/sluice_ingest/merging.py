"""Makes one large letter of many small ones, while their tenant is buffered.

A tenant may have so many letters, however small, and a shipper that sends a record at a time makes one of each.
Invariant: as with returning, a letter is removed only after the broker has its records elsewhere, with their ids and
versions, so a crash in between only leaves duplicates.
"""

import asyncio
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sluice_core.edge.broker import Broker
from sluice_core.edge.lanes import DEAD_LETTERS_PER_SUBJECT
from sluice_core.edge.letters import list_letters, remove_letter, write_letter
from sluice_core.envelope import encode_envelope
from sluice_core.letter import StoredLetter
from sluice_core.limits import ENVELOPE_BYTES
from sluice_core.names import parked_subject
from sluice_core.reasons import BUFFERED
from sluice_core.tenant import TenantConfig
from sluice_ingest.commit import buffered_letter
from sluice_ingest.returning import take_up

MERGE_FROM = DEAD_LETTERS_PER_SUBJECT // 4
"""Fewer letters are left as they are."""
MERGE_AGAIN = 100
"""So many more letters make it worth looking at all of them again."""
_PAGE = 100
"""Letters read in one round: 25 MiB, unless records are larger."""
_AT_ONCE = 4


class _Place(NamedTuple):
    """How far the letters of a tenant have been looked at."""

    after: int = 0
    again: int = MERGE_FROM
    """At the beginning: how many letters there must be."""


class Merger:
    """Call `merge` once a round for each buffered tenant."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._places: dict[str, _Place] = {}

    async def merge(self, tenant: TenantConfig, parked: int) -> None:
        """Merge some of the tenant's `parked` letters, if there are many. Raises BrokerError."""
        place = self._places.get(tenant.tenant_id, _Place())
        if not place.after and parked < place.again:
            return
        subject = parked_subject(tenant.tenant_id)
        letters = await list_letters(self._broker, subject, after=place.after, limit=_PAGE)
        for group, payload in merged(letters, tenant):
            await write_letter(self._broker, subject, buffered_letter(payload), payload)
            for start in range(0, len(group), _AT_ONCE):
                await asyncio.gather(
                    *(remove_letter(self._broker, one.sequence) for one in group[start : start + _AT_ONCE])
                )
            parked -= len(group) - 1
        if len(letters) == _PAGE:
            self._places[tenant.tenant_id] = _Place(letters[-1].sequence)
        else:
            self._places[tenant.tenant_id] = _Place(again=max(MERGE_FROM, parked + MERGE_AGAIN))


def merged(letters: Sequence[StoredLetter], tenant: TenantConfig) -> Iterator[tuple[list[StoredLetter], bytes]]:
    """Groups of letters that ingest buffered, each with the one payload that can stand for all of them."""
    group: list[StoredLetter] = []
    parts: list[bytes] = []
    size = 0
    for letter in letters:
        submissions = letter.submissions()
        if submissions is None or letter.letter.reason != BUFFERED.code or len(letter.payload) > ENVELOPE_BYTES // 2:
            continue
        back = take_up(letter, submissions, tenant)
        if back.strangers:
            continue
        if size + back.size > ENVELOPE_BYTES:
            if len(group) > 1:
                yield group, encode_envelope(parts)
            group, parts, size = [], [], 0
        group.append(letter)
        parts += back.submissions
        size += back.size
    if len(group) > 1:
        yield group, encode_envelope(parts)
