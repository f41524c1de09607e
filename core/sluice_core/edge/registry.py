"""The registry: who owns a tenant id, and what was last asked for it.

One document a tenant id in `sluice.tenants`, claimed by an atomic insert. The key-value bucket is a projection of it
and can be rebuilt from it. Invariant: a document changes only through its owner, and its revision only grows.
"""

from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError
from pymongo.write_concern import WriteConcern

from sluice_core.edge.store import Client
from sluice_core.errors import ProvisionError, TenantConflict, TenantLeaving, TenantRetained
from sluice_core.names import REGISTRY_COLLECTION, REGISTRY_DATABASE, STANDARD_LANE
from sluice_core.tenant import TenantConfig

State = Literal["Active", "Deleting", "Retained", "Erased"]


class Owner(msgspec.Struct, frozen=True):
    """Whose Tenant this is. On a laptop there are no Kubernetes uids; they are empty then."""

    namespace: str
    name: str
    uid: str = ""
    namespace_uid: str = ""


NOBODY = Owner("", "")
"""Of an id that was released."""


class IssuedKey(msgspec.Struct, frozen=True):
    """A key by its digest; `pending` until the secret that holds it is known to exist."""

    name: str
    key_id: str
    digest: str
    state: Literal["pending", "active"]


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """One document of the registry."""

    id: str = msgspec.field(name="_id")
    uid: str
    owner: Owner
    state: State
    revision: int
    keys: tuple[IssuedKey, ...] = ()
    config: TenantConfig | None = None
    """What was last projected, without which a rebuilt bucket would not know limits and policy."""
    deletion_policy: Literal["Retain", "Delete"] = "Retain"
    reader_digest: str = ""
    """Digest of the password the tenant's reader was last given."""
    reader_active: bool = False
    """Whether the database is known to have taken it."""
    closing: tuple[str, ...] = ()
    """Lanes it moved away from, in which something of it may still be; and one that it is about to move into."""
    claimed_at: datetime
    ended_at: datetime | None = None
    """When its deletion was complete."""
    erased: dict[str, int] = {}
    """What there was when its deletion began to remove things: documents, parked letters, dead letters."""

    @property
    def lanes(self) -> set[str]:
        """The lanes in which something of it is or may be."""
        return {*self.closing, *([self.config.lane] if self.config is not None else [])}


class Registry:
    """The collection `sluice.tenants`; needs the provisioner's credentials."""

    def __init__(self, client: Client) -> None:
        self._claims = client[REGISTRY_DATABASE].get_collection(
            REGISTRY_COLLECTION, write_concern=WriteConcern("majority")
        )

    async def get(self, tenant_id: str) -> Claim | None:
        """The claim on a tenant id."""
        document = await self._claims.find_one({"_id": tenant_id})
        return None if document is None else _decode(document)

    async def all(self) -> list[Claim]:
        """Every claim, by tenant id."""
        return [_decode(document) async for document in self._claims.find().sort("_id", 1)]

    async def dedicated(self) -> set[str]:
        """The living tenants that have a lane of their own."""
        found = self._claims.find({"state": "Active", "config.lane": {"$ne": STANDARD_LANE}, "config": {"$ne": None}})
        return {document["_id"] async for document in found}

    async def claim(self, tenant_id: str, owner: Owner, uid: str) -> Claim:
        """Claim an id, or adopt the claim that is already this owner's.

        `uid` is used for a new claim, and for one whose data was erased. A retained database goes back to its owner
        with the uid it had. Raises TenantConflict, TenantLeaving.
        """
        current = await self.get(tenant_id)
        if current is None:
            now = datetime.now(UTC).replace(microsecond=0)
            fresh = Claim(id=tenant_id, uid=uid, owner=owner, state="Active", revision=0, claimed_at=now)
            try:
                await self._claims.insert_one(_encode(fresh))
            except DuplicateKeyError:  # somebody was quicker
                current = await self.get(tenant_id)
            else:
                return fresh
        if current is None:
            raise ProvisionError(f"the claim on {tenant_id} was released while it was read: try again")
        if current.state == "Erased":
            # Nothing is left of it but the record: anybody may have the id, as another provisioning.
            change = {
                "uid": uid,
                "owner": msgspec.to_builtins(owner),
                "state": "Active",
                "keys": [],
                "config": None,
                "reader_digest": "",
                "reader_active": False,
                "erased": {},
                "ended_at": None,
            }
            return await self._change(current, change)
        released = current.state == "Retained" and current.owner == NOBODY
        if not released and not same_owner(current.owner, owner):
            if current.state == "Retained":
                raise TenantRetained(
                    f"the database of tenant id {tenant_id} is kept for a former owner: choose another "
                    f"spec.tenantId, or have it released by an administrator (`release {tenant_id}`)"
                )
            raise TenantConflict(f"tenant id {tenant_id} belongs to another Tenant: choose another spec.tenantId")
        if current.state == "Deleting":
            raise TenantLeaving(f"tenant {tenant_id} is being deleted: wait until that is done")
        change = {"owner": msgspec.to_builtins(owner)}
        if current.state == "Retained":
            return await self._change(current, {**change, "state": "Active", "ended_at": None})
        # The same Tenant made anew: its object was removed without us.
        return current if current.owner == owner else await self._change(current, change)

    async def release(self, tenant_id: str) -> Claim:
        """Let whoever claims a retained id next have it, and the database that was kept. Raises ProvisionError."""
        current = await self.get(tenant_id)
        if current is None or current.state != "Retained":
            raise ProvisionError(f"nothing is retained for a tenant {tenant_id}: there is nothing to release")
        return await self.record(current, owner=NOBODY)

    async def record(self, claim: Claim, **change: Any) -> Claim:
        """Set fields of a claim that is still as it was read. Raises ProvisionError when it is not."""
        if all(getattr(claim, name) == value for name, value in change.items()):
            return claim
        return await self._change(claim, msgspec.to_builtins(change, builtin_types=(datetime,)))

    async def _change(self, claim: Claim, change: dict[str, Any]) -> Claim:
        # The revision and uid in the filter keep two provisioners from overwriting each other's step.
        document = await self._claims.find_one_and_update(
            {"_id": claim.id, "uid": claim.uid, "revision": claim.revision, "state": claim.state},
            {"$set": change},
            return_document=ReturnDocument.AFTER,
        )
        if document is None:
            raise ProvisionError(f"tenant {claim.id} was changed by somebody else at the same time: try again")
        return _decode(document)


def same_owner(current: Owner, other: Owner) -> bool:
    """Whether it is one Tenant's, perhaps made anew in the very same namespace."""
    return (current.namespace, current.name, current.namespace_uid) == (
        other.namespace,
        other.name,
        other.namespace_uid,
    )


def _encode(claim: Claim) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.to_builtins(claim, builtin_types=(datetime,))
    return document


def _decode(document: dict[str, Any]) -> Claim:
    return msgspec.convert(document, Claim)
