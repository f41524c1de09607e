"""Databases, indexes, users and privileges in MongoDB, as provisioning makes them.

Each tenant has a database of its own, a reader that sees nothing else, and one privilege in the workers' role; that
privilege is what lets a late worker write, so revoking it is how a dropped database stays dropped. Invariant: every
`ensure_*` compares first and returns whether it changed anything.
"""

from typing import Any

from pymongo.errors import OperationFailure

from sluice_core.edge.store import Client
from sluice_core.names import (
    LOGS_COLLECTION,
    TENANT_INFO_COLLECTION,
    WORKER_ROLE,
    WORKER_USER,
    reader_user,
    tenant_database,
)

_DAY_SECONDS = 86_400
_TTL_INDEX = "retention"
_WORKER_ACTIONS = ["find", "insert", "update"]
_NAMESPACE_EXISTS = 48
_USER_NOT_FOUND = 11
_ROLE_NOT_FOUND = 31


class Access:
    """What only the provisioner may do in the database."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def ensure_worker(self, password: str) -> bool:
        """The workers' role, empty at first, and their user; its password is set when the user is new."""
        admin = self._client.admin
        changed = False
        if not (await admin.command("rolesInfo", WORKER_ROLE))["roles"]:
            await admin.command("createRole", WORKER_ROLE, privileges=[], roles=[])
            changed = True
        if not (await admin.command("usersInfo", WORKER_USER))["users"]:
            await admin.command("createUser", WORKER_USER, pwd=password, roles=[WORKER_ROLE])
            changed = True
        return changed

    async def ensure_database(self, tenant_id: str, uid: str, retention_days: int) -> bool:
        """Collection, retention index and the mark of whose provisioning this is."""
        database = self._client[tenant_database(tenant_id)]
        seconds = retention_days * _DAY_SECONDS
        changed = False
        try:
            await database.create_collection(LOGS_COLLECTION)
            changed = True
        except OperationFailure as error:
            if error.code != _NAMESPACE_EXISTS:
                raise
        except Exception as error:
            if type(error).__name__ != "CollectionInvalid":
                raise
        index = (await database[LOGS_COLLECTION].index_information()).get(_TTL_INDEX)
        if index is None:
            await database[LOGS_COLLECTION].create_index("received_at", name=_TTL_INDEX, expireAfterSeconds=seconds)
            changed = True
        elif index.get("expireAfterSeconds") != seconds:
            change = {"name": _TTL_INDEX, "expireAfterSeconds": seconds}
            await database.command("collMod", LOGS_COLLECTION, index=change)
            changed = True
        info = await database[TENANT_INFO_COLLECTION].find_one({"_id": "tenant"})
        if info is None or info.get("uid") != uid:
            wanted = {"uid": uid, "tenant_id": tenant_id}
            await database[TENANT_INFO_COLLECTION].replace_one({"_id": "tenant"}, wanted, upsert=True)
            changed = True
        return changed

    async def ensure_worker_privilege(self, tenant_id: str) -> bool:
        """Let workers write this tenant's logs; takes effect at once, also on open connections."""
        if await self._has_privilege(tenant_id):
            return False
        await self._client.admin.command("grantPrivilegesToRole", WORKER_ROLE, privileges=[_privilege(tenant_id)])
        return True

    async def revoke_worker_privilege(self, tenant_id: str) -> None:
        """Stop workers from writing this tenant's logs; takes effect at once."""
        if await self._has_privilege(tenant_id):
            await self._client.admin.command(
                "revokePrivilegesFromRole", WORKER_ROLE, privileges=[_privilege(tenant_id)]
            )

    async def ensure_reader(self, tenant_id: str, password: str, *, known: bool) -> bool:
        """The tenant's reader. `known`: its password is believed to be this one already."""
        database = self._client[tenant_database(tenant_id)]
        exists = bool((await database.command("usersInfo", reader_user(tenant_id)))["users"])
        if exists and known:
            return False
        command = "updateUser" if exists else "createUser"
        await database.command(
            command, reader_user(tenant_id), pwd=password, roles=[{"role": "read", "db": database.name}]
        )
        return True

    async def drop_reader(self, tenant_id: str) -> None:
        """Remove the tenant's reader and cut its connections."""
        try:
            await self._client[tenant_database(tenant_id)].command("dropUser", reader_user(tenant_id))
        except OperationFailure as error:
            if error.code != _USER_NOT_FOUND:
                raise

    async def drop_database(self, tenant_id: str) -> None:
        """Remove everything the tenant stored."""
        await self._client.drop_database(tenant_database(tenant_id))

    async def count(self, tenant_id: str) -> int:
        """Documents in the tenant's logs."""
        return await self._client[tenant_database(tenant_id)][LOGS_COLLECTION].estimated_document_count()

    async def _has_privilege(self, tenant_id: str) -> bool:
        answer = await self._client.admin.command("rolesInfo", WORKER_ROLE, showPrivileges=True)
        wanted = _privilege(tenant_id)
        return any(
            privilege["resource"] == wanted["resource"] and set(wanted["actions"]) <= set(privilege["actions"])
            for role in answer["roles"]
            for privilege in role["privileges"]
        )


def _privilege(tenant_id: str) -> dict[str, Any]:
    resource = {"db": tenant_database(tenant_id), "collection": LOGS_COLLECTION}
    return {"resource": resource, "actions": _WORKER_ACTIONS}
