"""Taking away the lanes that their tenants have left.

New lines take the new lane as soon as ingest has read so; then the old one is closed, which refuses what comes too late
(ingest answers 503, and the shipper's next try finds the new lane), drained by its workers, looked at, and removed.
Never waits: a lane that is not finished yet is looked at again in the next round. Invariant: a lane goes only when
nothing can come into it any more and everything in it is finished.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from sluice_core.edge.broker import STREAM_NOT_FOUND, Broker
from sluice_core.edge.bucket import Entry
from sluice_core.edge.heartbeats import Roster
from sluice_core.edge.lanes import (
    close_lane,
    delete_consumer,
    delete_stream,
    ensure_consumer,
    lane_is_finished,
    last_sequence,
)
from sluice_core.edge.registry import Claim, Registry
from sluice_core.errors import ApiError
from sluice_core.names import CLOSED_PREFIX, lane_stream
from sluice_core.tenant import decode_config


class Closing:
    """One step further with every lane that is to go. `remove_workers` is called before a lane's stream goes."""

    def __init__(
        self,
        broker: Broker,
        registry: Registry,
        roster: Roster,
        remove_workers: Callable[[str], Awaitable[None]] | None,
    ) -> None:
        self._broker = broker
        self._registry = registry
        self._roster = roster
        self._remove_workers = remove_workers

    async def run(
        self, claims: Sequence[Claim], entries: Mapping[str, Entry], streams: Mapping[str, Mapping[str, Any]]
    ) -> None:
        """One round, by what the registry, the bucket and the broker were found to say."""
        for claim in claims:
            if claim.closing and claim.state == "Active" and await self._is_known(claim, entries.get(claim.id)):
                for lane in claim.closing:
                    await self._close(claim.id, lane)
        needed = {lane for claim in claims for lane in claim.lanes}
        for info in streams.values():
            subjects = info["config"].get("subjects") or [""]
            lane = subjects[0].removeprefix(CLOSED_PREFIX)
            if subjects == [f"{CLOSED_PREFIX}{lane}"] and lane not in needed and not info["state"]["messages"]:
                await self._remove_stray(lane)

    async def _is_known(self, claim: Claim, entry: Entry | None) -> bool:
        """Whether every ingest and worker has read the config that names another lane."""
        await self._roster.start()
        if entry is None or claim.config is None:
            return False
        try:
            written = decode_config(entry.value) == claim.config
        except msgspec.DecodeError:
            return False
        return written and self._roster.all_have_seen(entry.sequence)

    async def _close(self, tenant_id: str, lane: str) -> None:
        claim = await self._registry.get(tenant_id)
        if claim is None or claim.state != "Active" or lane not in claim.closing:
            return
        try:
            await close_lane(self._broker, lane)
            await ensure_consumer(self._broker, lane_stream(lane))
            finished = await lane_is_finished(self._broker, lane, await last_sequence(self._broker, lane))
        except ApiError as error:
            if error.err_code != STREAM_NOT_FOUND:
                raise
            finished = True
        if not finished:
            return
        if self._remove_workers is not None:
            await self._remove_workers(lane)
        # Under another revision, so that whoever is moving the tenant back at this moment has to begin again.
        left = tuple(name for name in claim.closing if name != lane)
        await self._registry.record(claim, closing=left, revision=claim.revision + 1)
        await delete_consumer(self._broker, lane)
        await delete_stream(self._broker, lane_stream(lane))

    async def _remove_stray(self, lane: str) -> None:
        """The stream of a lane that was given up between the two last steps above."""
        info = await self._broker.api(f"STREAM.INFO.{lane_stream(lane)}")
        if info["config"]["subjects"] == [f"{CLOSED_PREFIX}{lane}"] and not info["state"]["messages"]:
            await delete_stream(self._broker, lane_stream(lane))
