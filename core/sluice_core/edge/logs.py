"""Reading what is stored: one tenant's documents, with the rights of that tenant's own reader.

`sluice logs` and the demo's verification read through here. Invariants: the original text leaves the database only when
it is asked for; and nothing here writes.
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec
from pymongo.errors import OperationFailure, PyMongoError

from sluice_core.edge.store import Client, connect
from sluice_core.errors import StoreUnavailable
from sluice_core.names import LOGS_COLLECTION, tenant_database

_FIELDS = ("source", "modified_data", "redactions", "timestamp", "received_at", "processed_at", "correlation_id")
_OPLOG_DATABASE = "local"
"""Holds every write a second time by its nature, for replication; documents there are nobody's."""
_SERVERS_OWN = "system."
"""Collections that clients cannot write documents of their own to, nor the administrator read them all."""
_AWAIT_MS = 500


class StoredLog(msgspec.Struct, frozen=True, kw_only=True):
    """One document of `processed_logs`."""

    log_id: str
    timestamp: datetime
    received_at: datetime
    processed_at: datetime
    source: str
    modified_data: str
    redactions: dict[str, int]
    correlation_id: str
    attributes: dict[str, Any] = {}
    original_text: str | msgspec.UnsetType = msgspec.UNSET
    """Only when it was asked for and the tenant keeps it."""


class TenantLogs:
    """The documents of one tenant. `uri` is that of its reader; connects on first use."""

    def __init__(self, uri: str, tenant_id: str, *, original: bool = False) -> None:
        self._client = connect(uri, timeout_ms=30_000)
        self._database = self._client[tenant_database(tenant_id)]
        self._logs = self._database[LOGS_COLLECTION]
        self._projection = dict.fromkeys((*_FIELDS, "attributes", *(["original_text"] if original else [])), 1)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    async def latest(self, *, limit: int, since: datetime | None = None, pattern: str | None = None) -> list[StoredLog]:
        """The `limit` documents received last, the newest at the end.

        `since` bounds when they were received; `pattern` is a regular expression the redacted text has to match.
        Raises StoreUnavailable.
        """
        query: dict[str, Any] = {}
        if since is not None:
            query["received_at"] = {"$gte": since}
        if pattern is not None:
            query["modified_data"] = {"$regex": pattern}
        try:
            # By the retention index; within one request's documents the order of insertion decides.
            cursor = self._logs.find(query, self._projection).sort([("received_at", -1)]).limit(limit)
            found = [_read(document) async for document in cursor]
        except PyMongoError as error:
            raise _translate(error) from error
        return found[::-1]

    async def all(self) -> AsyncIterator[StoredLog]:
        """Every document, in no particular order. Raises StoreUnavailable."""
        try:
            async for document in self._logs.find({}, self._projection):
                yield _read(document)
        except PyMongoError as error:
            raise _translate(error) from error

    async def count(self) -> int:
        """How many documents there are. Raises StoreUnavailable."""
        try:
            return await self._logs.count_documents({})
        except PyMongoError as error:
            raise _translate(error) from error

    async def now(self) -> Any:
        """A point in the database's time, to `follow` from."""
        try:
            return (await self._database.command("ping"))["operationTime"]
        except PyMongoError as error:
            raise _translate(error) from error

    async def follow(self, start: Any) -> AsyncIterator[StoredLog]:
        """Every document stored after `start`, as it is stored; ends only with the caller. Raises StoreUnavailable."""
        wanted = [{"$match": {"operationType": {"$in": ["insert", "replace"]}}}]
        projection = {"$project": {"operationType": 1, **{f"fullDocument.{name}": 1 for name in self._projection}}}
        projection["$project"]["fullDocument._id"] = 1
        try:
            async with self._logs.watch(
                [*wanted, projection], start_at_operation_time=start, max_await_time_ms=_AWAIT_MS
            ) as changes:
                async for change in changes:
                    yield _read(change["fullDocument"])
        except PyMongoError as error:
            raise _translate(error) from error


async def count_ids(client: Client, prefixes: Iterable[str]) -> dict[str, dict[str, int]]:
    """How many documents' ids begin with each prefix, in every database there is, those with none left out.

    Needs the administrator's client. Raises StoreUnavailable.
    """
    wanted = list(prefixes)
    counts: dict[str, dict[str, int]] = {}
    try:
        for database in await client.list_database_names():
            if database == _OPLOG_DATABASE:
                continue
            for collection in await client[database].list_collection_names():
                if collection.startswith(_SERVERS_OWN):
                    continue
                for prefix in wanted:
                    # A range over the index of ids, up to the first string that no longer begins with the prefix.
                    query = {"_id": {"$gte": prefix, "$lt": prefix[:-1] + chr(ord(prefix[-1]) + 1)}}
                    if found := await client[database][collection].count_documents(query):
                        place = counts.setdefault(database, {})
                        place[prefix] = place.get(prefix, 0) + found
    except PyMongoError as error:
        raise _translate(error) from error
    return counts


def _read(document: Mapping[str, Any]) -> StoredLog:
    fields = {name: document[name] for name in _FIELDS}
    return StoredLog(
        log_id=document["_id"],
        attributes=document.get("attributes") or {},
        original_text=document.get("original_text", msgspec.UNSET),
        **fields,
    )


def _translate(error: PyMongoError) -> StoreUnavailable:
    if isinstance(error, OperationFailure):
        return StoreUnavailable(f"the database refused to read (error {error.code}): the tenant may be gone")
    return StoreUnavailable(f"the database could not be read ({type(error).__name__}): see that the stack runs")
