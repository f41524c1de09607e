"""Taking a tenant away, provably.

The order is the design's: say it is going, wait until no ingest replica accepts for it, wait until everything accepted
before has left the lane, then remove. With Retain, what was accepted is stored first and the workers' privilege revoked
after; with Delete it is revoked first, and what is still in the lane is discarded. The last tombstone names no
provisioning, so whatever comes later still is nobody's and is discarded. Invariant: safe to run again from any point,
and it never touches another provisioning of the id, nor one of another owner.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import Literal

import msgspec

from sluice_core.edge.broker import Broker
from sluice_core.edge.heartbeats import Roster
from sluice_core.edge.lanes import (
    close_lane,
    delete_consumer,
    delete_stream,
    empty_stream,
    ensure_consumer,
    lane_exists,
    lane_is_finished,
    last_sequence,
)
from sluice_core.edge.letters import count_letters, purge_letters
from sluice_core.edge.provision import Provisioner
from sluice_core.edge.registry import Claim, Owner, same_owner
from sluice_core.edge.secrets import SecretStore
from sluice_core.edge.store import store_errors
from sluice_core.errors import BrokerError, ProvisionError
from sluice_core.heartbeat import LIVE_SECONDS
from sluice_core.names import STANDARD_LANE, dead_letter_subject, lane_stream, parked_subject
from sluice_core.tenant import TenantConfig

_POLL_SECONDS = 0.1
_SEEN_SECONDS = 4 * LIVE_SECONDS
"""Longest wait until every process that is alive has read a tombstone; they read the bucket every second."""
_OPEN_REQUESTS_SECONDS = 5.0
"""An ingest that has read the tombstone may still publish what it admitted before: it answers within 4.5 s."""
_PURGES = 20
"""Tries, as somebody may be writing a letter at this very moment. Nobody does for long after the last tombstone."""


async def _nothing_else(_: str) -> None:
    """On a laptop a lane is nothing but its stream; its worker goes when that is gone."""


class Deletion:
    """Removes one tenant."""

    def __init__(
        self,
        broker: Broker,
        provisioner: Provisioner,
        secrets: SecretStore,
        *,
        roster: Roster | None = None,
        remove_workers: Callable[[str], Awaitable[None]] = _nothing_else,
    ) -> None:
        """`remove_workers` is called with a lane of the tenant's own that is finished, before its stream goes."""
        self._broker = broker
        self._provisioner = provisioner
        self._registry = provisioner.registry
        self._access = provisioner.access
        self._secrets = secrets
        self._roster = roster or Roster(broker)
        self._remove_workers = remove_workers

    async def delete(
        self,
        tenant_id: str,
        *,
        owner: Owner | None = None,
        policy: Literal["Retain", "Delete"] | None = None,
        timeout: float = 60.0,
    ) -> Claim:
        """Delete the tenant as its deletion policy says; `timeout` bounds each wait for its lane to finish, in seconds.

        `owner`: only if it is that owner's; `policy`: the one that holds, when it may be another than what was applied.
        Raises ProvisionError when there is no such tenant, or the lane does not finish in time; run it again then.
        """
        with store_errors():
            claim = await self._registry.get(tenant_id)
            if claim is None or claim.state not in {"Active", "Deleting"}:
                raise ProvisionError(f"there is no tenant {tenant_id} to delete")
            if owner is not None and not same_owner(claim.owner, owner):
                raise ProvisionError(f"tenant {tenant_id} is another owner's")
            policy = policy or claim.deletion_policy
            claim = await self._registry.record(claim, state="Deleting", deletion_policy=policy)
            return await self._delete(claim, erase=policy == "Delete", timeout=timeout)

    async def _delete(self, claim: Claim, *, erase: bool, timeout: float) -> Claim:
        if claim.config is not None:
            claim = await self._empty_lanes(claim, claim.config, erase=erase, timeout=timeout)
        else:  # nobody was ever told of it, so nothing of it is anywhere
            await self._access.revoke_worker_privilege(claim.id)
            await self._remove_lanes(claim.closing)
            claim = await self._registry.record(claim, closing=())
        if erase:
            claim = await self._erase(claim)
        await self._access.drop_reader(claim.id)
        await self._secrets.delete(claim.id)
        now = datetime.now(UTC).replace(microsecond=0)
        return await self._registry.record(claim, state="Erased" if erase else "Retained", ended_at=now)

    async def _empty_lanes(self, claim: Claim, config: TenantConfig, *, erase: bool, timeout: float) -> Claim:
        """Let everything that was accepted leave the lane, and see that nothing comes later."""
        # Keys stay in the first tombstone, so that their holders get 403 rather than 401.
        claim = await self._entomb(claim, msgspec.structs.replace(config, state="gone"))
        if erase:
            await self._access.revoke_worker_privilege(claim.id)
        else:
            await asyncio.sleep(_OPEN_REQUESTS_SECONDS)
        own = sorted({*claim.closing, config.lane} - {STANDARD_LANE})
        if config.lane == STANDARD_LANE:
            await self._wait_until_finished(STANDARD_LANE, timeout)
        for lane in own:
            await close_lane(self._broker, lane)
            if erase:  # nobody else's is in it, and workers need not come up for what they would throw away
                await empty_stream(self._broker, lane_stream(lane))
            else:
                await self._wait_until_finished(lane, timeout)
        await self._access.revoke_worker_privilege(claim.id)
        await self._remove_lanes(own)
        # Without a uid it is nobody's tombstone: a worker discards what still comes rather than trying to store it.
        last = msgspec.structs.replace(config, state="gone", uid="", keys=(), lane=STANDARD_LANE)
        claim = await self._entomb(claim, last)
        return await self._registry.record(claim, closing=())

    async def _remove_lanes(self, lanes: Iterable[str]) -> None:
        for lane in lanes:
            await self._remove_workers(lane)
            await delete_consumer(self._broker, lane)
            await delete_stream(self._broker, lane_stream(lane))

    async def _entomb(self, claim: Claim, tombstone: TenantConfig) -> Claim:
        """Write a tombstone and wait until everybody has seen it."""
        if claim.config is None or msgspec.structs.replace(tombstone, revision=claim.revision) != claim.config:
            tombstone = msgspec.structs.replace(tombstone, revision=claim.revision + 1)
            claim = await self._registry.record(claim, config=tombstone, revision=tombstone.revision)
        await self._roster.start()
        claim, sequence, _ = await self._provisioner.project(claim)
        try:
            async with asyncio.timeout(_SEEN_SECONDS):
                while not self._roster.all_have_seen(sequence):
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise ProvisionError(
                f"some process did not hear that tenant {claim.id} is going: see that all are ready, then try again"
            ) from None
        return claim

    async def _wait_until_finished(self, lane: str, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                if await lane_exists(self._broker, lane):
                    await ensure_consumer(self._broker, lane_stream(lane))  # no repair does, of a tenant that is going
                    target = await last_sequence(self._broker, lane)
                    while not await lane_is_finished(self._broker, lane, target):
                        await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise ProvisionError(
                f"lane {lane} did not finish in time: see that its worker runs, then try again"
            ) from None

    async def _erase(self, claim: Claim) -> Claim:
        """Remove database and letters, having noted what there was, and look that nothing is left."""
        database, letters = claim.id, (parked_subject(claim.id), dead_letter_subject(claim.id))
        try:
            if not claim.erased:
                parked, dead = [sum((await count_letters(self._broker, subject)).values()) for subject in letters]
                counts = {"documents": await self._access.count(database), "parked": parked, "dead_letters": dead}
                claim = await self._registry.record(claim, erased=counts)
            for _ in range(_PURGES):
                for subject in letters:
                    await purge_letters(self._broker, subject)
                await self._access.drop_database(database)
                left = [await count_letters(self._broker, subject) for subject in letters]
                if not any(left) and not await self._access.count(database):
                    return claim
                await asyncio.sleep(_POLL_SECONDS)
        except BrokerError as error:
            raise ProvisionError("the dead letters could not be purged: try again") from error
        raise ProvisionError(f"something is still written for tenant {claim.id}: see who does it, then try again")
