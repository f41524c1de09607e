"""Taking a tenant away, provably.

The order is the design's: say it is going, wait until no ingest replica accepts for it, wait until everything accepted
before has left the lane, then remove. With Retain, what was accepted is stored first and the workers' privilege revoked
after; with Delete it is revoked first, and what is still in the lane is discarded. The last tombstone names no
provisioning, so whatever comes later still is nobody's and is discarded. Invariant: safe to run again from any point,
and it never touches another provisioning of the id.
"""

import asyncio

import msgspec

from sluice_core.edge.broker import CONSUMER_NOT_FOUND, STREAM_NOT_FOUND, Broker
from sluice_core.edge.heartbeats import Roster
from sluice_core.edge.lanes import delete_stream, lane_exists, lane_progress, last_sequence
from sluice_core.edge.letters import count_letters, purge_letters
from sluice_core.edge.provision import Provisioner
from sluice_core.edge.registry import Claim
from sluice_core.edge.secrets import SecretStore
from sluice_core.errors import ApiError, BrokerError, ProvisionError
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


class Deletion:
    """Removes one tenant."""

    def __init__(self, broker: Broker, provisioner: Provisioner, secrets: SecretStore) -> None:
        self._broker = broker
        self._provisioner = provisioner
        self._registry = provisioner.registry
        self._access = provisioner.access
        self._secrets = secrets
        self._roster: Roster | None = None

    async def delete(self, tenant_id: str, *, timeout: float = 60.0) -> Claim:
        """Delete the tenant as its deletion policy says; `timeout` bounds each wait for its lane to finish, in seconds.

        Raises ProvisionError when the lane does not finish in time; run it again then.
        """
        claim = await self._registry.get(tenant_id)
        if claim is None or claim.state not in {"Active", "Deleting"}:
            raise ProvisionError(f"there is no tenant {tenant_id} to delete")
        erase = claim.deletion_policy == "Delete"
        claim = await self._registry.record(claim, state="Deleting")
        if claim.config is not None:
            claim = await self._empty_lane(claim, claim.config, erase=erase, timeout=timeout)
        if erase:
            claim = await self._erase(claim)
        await self._access.drop_reader(tenant_id)
        await self._secrets.delete(tenant_id)
        return await self._registry.record(claim, state="Erased" if erase else "Retained")

    async def _empty_lane(self, claim: Claim, config: TenantConfig, *, erase: bool, timeout: float) -> Claim:
        """Let everything that was accepted leave the lane, and see that nothing comes later."""
        # Keys stay in the first tombstone, so that their holders get 403 rather than 401.
        claim = await self._entomb(claim, msgspec.structs.replace(config, state="gone"))
        if erase:
            await self._access.revoke_worker_privilege(claim.id)
        else:
            await asyncio.sleep(_OPEN_REQUESTS_SECONDS)
        await self._wait_until_finished(config.lane, timeout)
        await self._access.revoke_worker_privilege(claim.id)
        if config.lane != STANDARD_LANE:
            await delete_stream(self._broker, lane_stream(config.lane))
        # Without a uid it is nobody's tombstone: a worker discards what still comes rather than trying to store it.
        last = msgspec.structs.replace(config, state="gone", uid="", keys=(), lane=STANDARD_LANE)
        return await self._entomb(claim, last)

    async def _entomb(self, claim: Claim, tombstone: TenantConfig) -> Claim:
        """Write a tombstone and wait until everybody has seen it."""
        if claim.config is None or msgspec.structs.replace(tombstone, revision=claim.revision) != claim.config:
            tombstone = msgspec.structs.replace(tombstone, revision=claim.revision + 1)
            claim = await self._registry.record(claim, config=tombstone, revision=tombstone.revision)
        roster = await self._listen()
        claim, sequence = await self._provisioner.project(claim)
        try:
            async with asyncio.timeout(_SEEN_SECONDS):
                while not roster.all_have_seen(sequence):
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise ProvisionError(
                f"some process did not hear that tenant {claim.id} is going: see that all are ready, then try again"
            ) from None
        return claim

    async def _listen(self) -> Roster:
        if self._roster is None:
            roster = Roster(self._broker)
            await roster.start()
            self._roster = roster
        return self._roster

    async def _wait_until_finished(self, lane: str, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                if await lane_exists(self._broker, lane):
                    target = await last_sequence(self._broker, lane)
                    while not await self._has_finished(lane, target):
                        await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise ProvisionError(
                f"lane {lane} did not finish in time: see that its worker runs, then try again"
            ) from None

    async def _has_finished(self, lane: str, target: int) -> bool:
        try:
            progress = await lane_progress(self._broker, lane)
            # A stream that was lost and made again begins anew: what was in the old one will never be finished.
            return progress.last < target or progress.finished >= target
        except ApiError as error:
            if error.err_code == CONSUMER_NOT_FOUND:  # it comes back with the next repair
                return False
            if error.err_code != STREAM_NOT_FOUND:
                raise
            return True

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
