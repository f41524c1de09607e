"""Databases, indexes, users and privileges in MongoDB, as provisioning makes them.

Each tenant has a database of its own, a reader that sees nothing else, and one privilege in the workers' role; that
privilege is what lets a late worker write, so revoking it is how a dropped database stays dropped. Invariant: every
`ensure_*` compares first and returns whether it changed anything.
"""

import asyncio
from collections.abc import Iterable
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

DAY_SECONDS = 86_400
TTL_INDEX = "retention"
WORKER_ACTIONS = ["find", "insert", "update"]
_NAMESPACE_EXISTS = 48
_USER_NOT_FOUND = 11
_ROLE_NOT_FOUND = 31
_PREFIX = tenant_database("")


class Access:
    """What only the provisioner may do in the database."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._granting = asyncio.Lock()
        self._asked: set[str] = set()
        self._asking: asyncio.Task[set[str]] | None = None

    async def ensure_worker(self, password: str) -> bool:
        """The workers' role, empty at first, and their user; its password is set when the user is new."""
        admin = self._client.admin
        changed = False
        if not (await admin.command("rolesInfo", WORKER_ROLE))["roles"]:
            await admin.command("createRole", WORKER_ROLE, privileges=[], roles=[])
            changed = True
        users = (await admin.command("usersInfo", WORKER_USER))["users"]
        if not users:
            await admin.command("createUser", WORKER_USER, pwd=password, roles=[WORKER_ROLE])
            changed = True
        elif not any(role["role"] == WORKER_ROLE and role["db"] == admin.name for role in users[0]["roles"]):
            await admin.command("grantRolesToUser", WORKER_USER, roles=[WORKER_ROLE])  # dropping a role takes it away
            changed = True
        return changed

    async def ensure_database(self, tenant_id: str, uid: str, retention_days: int) -> bool:
        """Collection, retention index and the mark of whose provisioning this is."""
        database = self._client[tenant_database(tenant_id)]
        seconds = retention_days * DAY_SECONDS
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
        index = (await database[LOGS_COLLECTION].index_information()).get(TTL_INDEX)
        if index is None:
            await database[LOGS_COLLECTION].create_index("received_at", name=TTL_INDEX, expireAfterSeconds=seconds)
            changed = True
        elif index.get("expireAfterSeconds") != seconds:
            change = {"name": TTL_INDEX, "expireAfterSeconds": seconds}
            await database.command("collMod", LOGS_COLLECTION, index=change)
            changed = True
        info = await database[TENANT_INFO_COLLECTION].find_one({"_id": "tenant"})
        if info is None or info.get("uid") != uid:
            wanted = {"uid": uid, "tenant_id": tenant_id}
            await database[TENANT_INFO_COLLECTION].replace_one({"_id": "tenant"}, wanted, upsert=True)
            changed = True
        return changed

    async def ensure_worker_privilege(self, tenant_id: str) -> bool:
        """Let workers write this tenant's logs; takes effect at once, also on open connections.

        However many ask at a time, one look and one change serve them all: each of either costs as much as there are
        tenants.
        """
        if self._asking is None:
            self._asking = asyncio.create_task(self._grant_missing(self._asked))
        asked, asking = self._asked, self._asking
        asked.add(tenant_id)
        return tenant_id in await asyncio.shield(asking)

    async def _grant_missing(self, asked: set[str]) -> set[str]:
        async with self._granting:
            self._asking, self._asked = None, set()  # whoever comes later is not in the look that begins now
            missing = asked - await self.privileged()
            if missing:
                await self.grant_worker_privileges(sorted(missing))
            return missing

    async def grant_worker_privileges(self, tenant_ids: Iterable[str]) -> None:
        """As `ensure_worker_privilege`, of several tenants and without a look first."""
        privileges = [_privilege(tenant_id) for tenant_id in tenant_ids]
        await self._client.admin.command("grantPrivilegesToRole", WORKER_ROLE, privileges=privileges)

    async def revoke_worker_privilege(self, tenant_id: str) -> None:
        """Stop workers from writing this tenant's logs; takes effect at once. None there is fine."""
        try:
            await self._client.admin.command(
                "revokePrivilegesFromRole", WORKER_ROLE, privileges=[_privilege(tenant_id)]
            )
        except OperationFailure as error:
            if error.code != _ROLE_NOT_FOUND:
                raise

    async def ensure_reader(self, tenant_id: str, password: str, *, known: bool) -> bool:
        """The tenant's reader. `known`: its password is believed to be this one already."""
        database = self._client[tenant_database(tenant_id)]
        users = (await database.command("usersInfo", reader_user(tenant_id)))["users"]
        roles = [{"role": "read", "db": database.name}]
        if users and known and users[0]["roles"] == roles:
            return False
        command = "updateUser" if users else "createUser"
        # One mechanism is half of the hashing, which is most of what a new tenant costs the server.
        await database.command(command, reader_user(tenant_id), pwd=password, roles=roles, mechanisms=["SCRAM-SHA-256"])
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

    async def privileged(self) -> set[str]:
        """The tenants whose logs workers may write, in one call however many there are."""
        answer = await self._client.admin.command("rolesInfo", WORKER_ROLE, showPrivileges=True)
        return {
            privilege["resource"]["db"].removeprefix(_PREFIX)
            for role in answer["roles"]
            for privilege in role["privileges"]
            if privilege["resource"].get("collection") == LOGS_COLLECTION
            and privilege["resource"]["db"].startswith(_PREFIX)
            and set(privilege["actions"]) >= set(WORKER_ACTIONS)
        }


def _privilege(tenant_id: str) -> dict[str, Any]:
    resource = {"db": tenant_database(tenant_id), "collection": LOGS_COLLECTION}
    return {"resource": resource, "actions": WORKER_ACTIONS}
