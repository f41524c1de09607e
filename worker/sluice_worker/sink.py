"""Writing one tenant's batch so that every record is there exactly once.

Exactly-once comes from here, never from the broker: ids are keys, and a key that is taken is settled by content and
version. The plain insert is the whole cost of a batch of new records; everything else happens only to records whose id
was there. Invariant: each prepared record gets exactly one outcome, and none is reported before a majority has it.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from sluice_core.edge.store import Existing, Inserted
from sluice_core.errors import WriteRefused
from sluice_core.reasons import DUPLICATE, OUTDATED, REPLACED, STORED, WRITE_REFUSED, Reason
from sluice_core.version import Version
from sluice_worker.documents import Prepared

_MOST_ROUNDS = 5
"""A record changes hands this often only if other workers write the same id at the same moment each time."""


class Store(Protocol):
    """What the sink asks of the database; every call raises StoreUnavailable when it may be tried again."""

    async def insert(self, tenant_id: str, documents: Sequence[bytes]) -> Inserted:
        """Unordered insert."""
        ...

    async def find(self, tenant_id: str, log_ids: Sequence[str]) -> dict[str, Existing]:
        """Hash and version of what is there."""
        ...

    async def raise_versions(self, tenant_id: str, versions: Mapping[str, Existing]) -> int:
        """Set newer versions where the content is still this one; returns on how many."""
        ...

    async def replace(self, tenant_id: str, log_id: str, version: Version, document: bytes) -> bool:
        """Replace what is older."""
        ...


class Outcome(msgspec.Struct, frozen=True):
    """What became of one record."""

    prepared: Prepared
    reason: Reason
    detail: str = ""


async def write(store: Store, tenant_id: str, batch: Sequence[Prepared]) -> list[Outcome]:
    """Write a batch of one tenant. Raises StoreUnavailable; writing the same batch again is safe."""
    outcomes: list[Outcome] = []
    rest: Sequence[Prepared] = batch
    while rest:
        winners, losers = fold(rest)
        written = await _write_distinct(store, tenant_id, winners)
        outcomes += written
        # Of two with one id the older is tried when the newer is refused, as if it had come alone.
        refused = {one.prepared.log_id for one in written if one.reason is WRITE_REFUSED} if losers else set()
        rest = []
        for prepared, winner in losers:
            if winner.content_hash == prepared.content_hash:
                outcomes.append(Outcome(prepared, DUPLICATE))
            elif prepared.log_id in refused:
                rest.append(prepared)
            else:
                outcomes.append(Outcome(prepared, OUTDATED))
    return outcomes


def fold(batch: Sequence[Prepared]) -> tuple[list[Prepared], list[tuple[Prepared, Prepared]]]:
    """One record for each id, the newest, and each other one with the one that is newer.

    An insert of all would keep the first instead.
    """
    newest: dict[str, Prepared] = {}
    for prepared in batch:
        other = newest.get(prepared.log_id)
        if other is None or other.item.version < prepared.item.version:
            newest[prepared.log_id] = prepared
    if len(newest) == len(batch):
        return list(batch), []
    losers = [(one, winner) for one in batch if (winner := newest[one.log_id]) is not one]
    return list(newest.values()), losers


async def _write_distinct(store: Store, tenant_id: str, winners: list[Prepared]) -> list[Outcome]:
    outcomes: list[Outcome] = []
    for _ in range(_MOST_ROUNDS):
        inserted = await store.insert(tenant_id, [prepared.document for prepared in winners])
        taken = set(inserted.existing)
        if inserted.refused:
            outcomes += await _settle_refused(store, tenant_id, winners, inserted.refused)
        for position, prepared in enumerate(winners):
            if position not in taken and position not in inserted.refused:
                outcomes.append(Outcome(prepared, STORED))
        if not taken:
            return outcomes
        winners = await _settle_existing(store, tenant_id, [winners[position] for position in sorted(taken)], outcomes)
        if not winners:
            return outcomes
    outcomes += [Outcome(prepared, WRITE_REFUSED, "its id kept changing hands") for prepared in winners]
    return outcomes


async def _settle_refused(
    store: Store, tenant_id: str, batch: Sequence[Prepared], refused: Mapping[int, int]
) -> list[Outcome]:
    """A validator is asked before the ids are: what it refuses may be stored already, from before there was one."""
    found = await store.find(tenant_id, [batch[position].log_id for position in refused])
    outcomes: list[Outcome] = []
    for position, code in refused.items():
        prepared = batch[position]
        existing = found.get(prepared.log_id)
        if existing is not None and existing.content_hash == prepared.content_hash:
            outcomes.append(Outcome(prepared, DUPLICATE))
        else:
            outcomes.append(Outcome(prepared, WRITE_REFUSED, f"the database answered error {code}"))
    return outcomes


async def _settle_existing(
    store: Store, tenant_id: str, taken: Sequence[Prepared], outcomes: list[Outcome]
) -> list[Prepared]:
    """Decide about records whose id is there; returns those to insert again, since it no longer is."""
    found = await store.find(tenant_id, [prepared.log_id for prepared in taken])
    again: list[Prepared] = []
    raised: list[Prepared] = []
    for prepared in taken:
        existing = found.get(prepared.log_id)
        version = prepared.item.version
        if existing is None:
            again.append(prepared)
        elif existing.content_hash == prepared.content_hash:
            # The higher version is kept, or a record between the two would later win over this one.
            if version > existing.version:
                raised.append(prepared)
            else:
                outcomes.append(Outcome(prepared, DUPLICATE))
        elif version <= existing.version:
            outcomes.append(Outcome(prepared, OUTDATED))
        else:
            try:
                replaced = await store.replace(tenant_id, prepared.log_id, version, prepared.document)
            except WriteRefused as error:
                outcomes.append(Outcome(prepared, WRITE_REFUSED, str(error)))
                continue
            if replaced:
                outcomes.append(Outcome(prepared, REPLACED))
            else:
                again.append(prepared)
    if raised:
        versions = {one.log_id: Existing(one.content_hash, one.item.version) for one in raised}
        if await store.raise_versions(tenant_id, versions) == len(versions):
            outcomes += [Outcome(prepared, DUPLICATE) for prepared in raised]
        else:  # another worker put other content there meanwhile: look again
            again += raised
    return again
