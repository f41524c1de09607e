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
from sluice_core.errors import ProvisionError, TenantConflict
from sluice_core.names import REGISTRY_COLLECTION, REGISTRY_DATABASE
from sluice_core.tenant import TenantConfig

State = Literal["Active", "Deleting", "Retained", "Erased"]


class Owner(msgspec.Struct, frozen=True):
    """Whose Tenant this is. On a laptop there are no Kubernetes uids; they are empty then."""

    namespace: str
    name: str
    uid: str = ""
    namespace_uid: str = ""


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
    claimed_at: datetime
    erased: dict[str, int] = {}
    """What there was when its deletion began to remove things: documents, parked letters, dead letters."""


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

    async def claim(self, tenant_id: str, owner: Owner, uid: str) -> Claim:
        """Claim an id, or adopt the claim that is already this owner's.

        `uid` is used for a new claim, and for one whose data was erased. A retained database goes back to its owner
        with the uid it had. Raises TenantConflict.
        """
        fresh = Claim(id=tenant_id, uid=uid, owner=owner, state="Active", revision=0, claimed_at=datetime.now(UTC))
        try:
            await self._claims.insert_one(_encode(fresh))
        except DuplicateKeyError:
            pass
        else:
            return fresh
        current = await self.get(tenant_id)
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
                "erased": {},
            }
            return await self._change(current, change)
        if not _same_owner(current.owner, owner):
            raise TenantConflict(f"tenant id {tenant_id} belongs to another Tenant: choose another spec.tenantId")
        if current.state == "Deleting":
            raise ProvisionError(f"tenant {tenant_id} is being deleted: wait until that is done")
        if current.state == "Retained":
            return await self._change(current, {"state": "Active"})
        return current

    async def record(self, claim: Claim, **change: Any) -> Claim:
        """Set fields of a claim that is still as it was read. Raises ProvisionError when it is not."""
        if all(getattr(claim, name) == value for name, value in change.items()):
            return claim
        return await self._change(claim, msgspec.to_builtins(change))

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


def _same_owner(current: Owner, other: Owner) -> bool:
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
