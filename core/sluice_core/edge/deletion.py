"""Taking a tenant away, provably.

The order is the design's: say it is going, wait until no ingest replica accepts for it, wait until everything accepted
before has left the lane, then remove. With Retain, what was accepted is stored first and the workers' privilege revoked
after; with Delete it is revoked first, and what is still in the lane is discarded. Invariant: safe to run again from
any point, and it never touches another provisioning of the id.
"""

import asyncio

import msgspec

from sluice_core.edge.broker import Broker
from sluice_core.edge.bucket import write_config
from sluice_core.edge.lanes import acknowledged_floor, delete_stream, last_sequence
from sluice_core.edge.provision import Provisioner
from sluice_core.edge.registry import Claim
from sluice_core.edge.secrets import SecretStore
from sluice_core.edge.tenants_view import REREAD_SECONDS
from sluice_core.errors import BrokerError, ProvisionError
from sluice_core.names import DLQ_STREAM, STANDARD_LANE, dead_letter_subject, lane_stream
from sluice_core.tenant import TenantConfig

_POLL_SECONDS = 0.1


class Deletion:
    """Removes one tenant."""

    def __init__(self, broker: Broker, provisioner: Provisioner, secrets: SecretStore) -> None:
        self._broker = broker
        self._registry = provisioner.registry
        self._access = provisioner.access
        self._secrets = secrets

    async def delete(self, tenant_id: str, *, timeout: float = 60.0) -> Claim:
        """Delete the tenant as its deletion policy says; `timeout` bounds the wait for its lane to finish, in seconds.

        Raises ProvisionError when the lane does not finish in time; run it again then.
        """
        claim = await self._registry.get(tenant_id)
        if claim is None or claim.state not in {"Active", "Deleting"}:
            raise ProvisionError(f"there is no tenant {tenant_id} to delete")
        erase = claim.deletion_policy == "Delete"
        claim = await self._registry.record(claim, state="Deleting")
        config = claim.config
        if config is not None:
            claim = await self._entomb(claim, config)
            if erase:
                await self._access.revoke_worker_privilege(tenant_id)
            await self._wait_until_finished(config.lane, timeout)
            await self._access.revoke_worker_privilege(tenant_id)
            if config.lane != STANDARD_LANE:
                await delete_stream(self._broker, lane_stream(config.lane))
        erased = await self._erase(tenant_id) if erase else {}
        await self._access.drop_reader(tenant_id)
        await self._secrets.delete(tenant_id)
        if claim.config is not None:
            final = msgspec.structs.replace(claim.config, keys=(), revision=claim.revision + 1)
            claim = await self._registry.record(claim, config=final, revision=final.revision, keys=(), reader_digest="")
            await write_config(self._broker, final)
        return await self._registry.record(claim, state="Erased" if erase else "Retained", erased=erased)

    async def _entomb(self, claim: Claim, config: TenantConfig) -> Claim:
        """Write the tombstone, keys still in it so that their holders get 403 rather than 401, and let it be seen."""
        if config.state == "gone":
            return claim
        tombstone = msgspec.structs.replace(config, state="gone", revision=claim.revision + 1)
        claim = await self._registry.record(claim, config=tombstone, revision=tombstone.revision)
        await write_config(self._broker, tombstone)
        # Every part re-reads the bucket at this interval; twice covers one lost hint and a re-read under way.
        await asyncio.sleep(2 * REREAD_SECONDS)
        return claim

    async def _wait_until_finished(self, lane: str, timeout: float) -> None:
        try:
            target = await last_sequence(self._broker, lane)
            async with asyncio.timeout(timeout):
                while await acknowledged_floor(self._broker, lane) < target:
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise ProvisionError(
                f"lane {lane} did not finish in time: see that its worker runs, then try again"
            ) from None

    async def _erase(self, tenant_id: str) -> dict[str, int]:
        """Drop the database and purge the dead letters; returns what there was."""
        documents = await self._access.count(tenant_id)
        subject = dead_letter_subject(tenant_id)
        try:
            answer = await self._broker.api(f"STREAM.PURGE.{DLQ_STREAM}", {"filter": subject})
        except BrokerError as error:
            raise ProvisionError("the dead letters could not be purged: try again") from error
        await self._access.drop_database(tenant_id)
        return {"documents": documents, "dead_letters": int(answer.get("purged", 0))}
