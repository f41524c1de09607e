"""The database of documents, and the only module that imports its driver.

Motor is the driver the project was given; docs/decisions/0003 says when it goes. Invariant: a write that returns was
acknowledged by a majority of the replica set; anything less raises StoreUnavailable and may be tried again, since ids
make every write repeatable.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import bson
import motor.frameworks.asyncio
import pymongo
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorCollection, AsyncIOMotorDatabase
from pymongo import ReplaceOne, UpdateOne
from pymongo.errors import BulkWriteError, ConnectionFailure, DocumentTooLarge, OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from sluice_core.errors import (
    AccessDenied,
    StoreInterrupted,
    StoreRefused,
    StoreUnavailable,
    Unencodable,
    WriteRefused,
)
from sluice_core.names import LOGS_COLLECTION, tenant_database
from sluice_core.version import Version

Client = AsyncIOMotorClient[dict[str, Any]]
Database = AsyncIOMotorDatabase[dict[str, Any]]
Collection = AsyncIOMotorCollection[dict[str, Any]]

DUPLICATE_KEY = 11000
UNAUTHORIZED = 13
MAX_DOCUMENT_BYTES = 16 * 1024 * 1024
_TIMEOUTS = frozenset({24, 50, 89, 262})
"""Server codes of what was not done in time, a lock included (mongo, error_codes.yml)."""
_INTERRUPTIONS = frozenset({6, 7, 18, 64, 91, 189, 9001, 10107, 11600, 11602, 13435, 13436, 14031})
"""Server codes of what nobody can write through: network, login, no majority, shutdown, stepping down, disk full."""
_OF_THE_COLLECTION = frozenset({20, 26, 48, 73, 81, 166})
"""Server codes said of each document that are about the place: it is a view, or is gone, or may not be written."""
_WRITABLE_SECONDS = 2.0
_THREADS = 64
"""Motor's own pool has five for each CPU: a few calls that hang would keep all others from being made."""

motor.frameworks.asyncio._EXECUTOR = ThreadPoolExecutor(_THREADS, thread_name_prefix="motor")  # noqa: SLF001


class Existing(NamedTuple):
    """What is stored under an id."""

    content_hash: str
    version: Version


class Inserted(NamedTuple):
    """What became of a batch; positions are those of the batch. Absent positions were stored."""

    existing: list[int]
    """An id that is already there."""
    refused: dict[int, int]
    """Refused for a reason of its own, by the server's error code."""


def connect(uri: str, *, timeout_ms: int = 10_000, **options: Any) -> Client:
    """A client for `uri`; connects on first use. `timeout_ms` bounds every operation, retries included."""
    return AsyncIOMotorClient(
        uri, timeoutMS=timeout_ms, serverSelectionTimeoutMS=timeout_ms, tz_aware=True, appname="sluice", **options
    )


@contextmanager
def store_errors() -> Iterator[None]:
    """Inside, whatever the driver raises comes out as StoreUnavailable, or the one of its kinds that says more."""
    try:
        yield
    except PyMongoError as error:
        raise _translate(error) from None


def encode_fields(fields: Mapping[str, Any]) -> bytes:
    """Fields as BSON elements, of which `join_document` makes a document. Raises Unencodable."""
    try:
        return bson.encode(fields)[4:-1]
    except (BSONError, OverflowError, UnicodeError, RecursionError, ValueError, TypeError) as error:
        raise Unencodable(type(error).__name__) from None


def join_document(*parts: bytes) -> bytes:
    """A document of several parts from `encode_fields`; what documents share need be encoded only once.

    A BSON document is its length, its elements one after the other, and a zero byte (bsonspec.org, version 1.1).
    Raises Unencodable when it is larger than MongoDB takes.
    """
    elements = b"".join(parts)
    size = len(elements) + 5
    if size > MAX_DOCUMENT_BYTES:
        raise Unencodable("DocumentTooLarge")
    return size.to_bytes(4, "little") + elements + b"\0"


class LogStore:
    """The `processed_logs` of all tenants, as a worker may reach them.

    Every call raises StoreUnavailable, or the one of its kinds that says more.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._collections: dict[str, Collection] = {}
        """By tenant, since making one costs as much as a dozen records: they hold no connection."""

    async def writable(self) -> bool:
        """Whether a primary answers that takes writes, whoever's; within two seconds or so."""
        try:
            with pymongo.timeout(_WRITABLE_SECONDS):
                return bool((await self._client.admin.command("hello")).get("isWritablePrimary"))
        except PyMongoError:
            return False

    async def insert(self, tenant_id: str, documents: Sequence[bytes]) -> Inserted:
        """Insert documents that are already BSON, unordered."""
        raw = [RawBSONDocument(document) for document in documents]
        try:
            await self._logs(tenant_id).insert_many(raw, ordered=False)
        except BulkWriteError as error:
            return _read_bulk_error(error)
        except DocumentTooLarge:
            # One too large for the server's own limit sinks the batch on the client's side: find it by itself.
            if len(documents) == 1:
                return Inserted([], {0: 10334})
            return await self._insert_one_by_one(tenant_id, documents)
        except PyMongoError as error:
            raise _translate(error) from error
        return Inserted([], {})

    async def _insert_one_by_one(self, tenant_id: str, documents: Sequence[bytes]) -> Inserted:
        existing: list[int] = []
        refused: dict[int, int] = {}
        for position, document in enumerate(documents):
            outcome = await self.insert(tenant_id, [document])
            existing += [position] * len(outcome.existing)
            if outcome.refused:
                refused[position] = outcome.refused[0]
        return Inserted(existing, refused)

    async def find(self, tenant_id: str, log_ids: Iterable[str]) -> dict[str, Existing]:
        """Hash and version of the documents with these ids that exist."""
        query = {"_id": {"$in": list(log_ids)}}
        found: dict[str, Existing] = {}
        try:
            async for document in self._logs(tenant_id).find(query, {"content_hash": 1, "version": 1}):
                version = document["version"]
                found[document["_id"]] = Existing(
                    document["content_hash"], Version(version["time"], version["sequence"], version["position"])
                )
        except PyMongoError as error:
            raise _translate(error) from error
        return found

    async def raise_versions(self, tenant_id: str, versions: Mapping[str, Existing]) -> int:
        """Store newer versions on documents that still have this content; returns on how many."""
        updates = [
            UpdateOne(
                {**_older(log_id, version), "content_hash": content_hash}, {"$set": {"version": version.document()}}
            )
            for log_id, (content_hash, version) in versions.items()
        ]
        # A document that a validator made later would no longer take keeps the version it has.
        with suppress(WriteRefused):
            return await self._bulk(tenant_id, updates)
        return len(updates)

    async def replace(self, tenant_id: str, log_id: str, version: Version, document: bytes) -> bool:
        """Put a document in the place of an older one with its id; False when what is there is not older.

        Raises WriteRefused, too.
        """
        result = await self._bulk(tenant_id, [ReplaceOne(_older(log_id, version), RawBSONDocument(document))])
        return result == 1

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    async def _bulk(self, tenant_id: str, operations: list[Any]) -> int:
        try:
            result = await self._logs(tenant_id).bulk_write(operations, ordered=False)
        except BulkWriteError as error:
            refused = _read_bulk_error(error).refused
            raise WriteRefused(next(iter(refused.values()), DUPLICATE_KEY)) from None
        except PyMongoError as error:
            raise _translate(error) from error
        return int(result.matched_count)

    def _logs(self, tenant_id: str) -> Collection:
        logs = self._collections.get(tenant_id)
        if logs is None:
            logs = self._collections[tenant_id] = self._client[tenant_database(tenant_id)].get_collection(
                LOGS_COLLECTION, write_concern=WriteConcern("majority"), read_concern=ReadConcern("majority")
            )
        return logs


def _older(log_id: str, version: Version) -> dict[str, Any]:
    return {"_id": log_id, "version": {"$lt": version.document()}}


def _read_bulk_error(error: BulkWriteError) -> Inserted:
    details = error.details or {}
    if details.get("writeConcernErrors"):
        raise StoreInterrupted("the write was not acknowledged by a majority") from None
    existing: list[int] = []
    refused: dict[int, int] = {}
    for failure in details.get("writeErrors", []):
        code = failure["code"]
        if code == DUPLICATE_KEY and failure.get("keyPattern", {"_id": 1}) == {"_id": 1}:
            existing.append(failure["index"])
        elif (fault := _fault(code)) is not None:
            raise fault from None
        elif code in _OF_THE_COLLECTION:
            raise StoreRefused(code) from None
        else:
            refused[failure["index"]] = code
    return Inserted(existing, refused)


def _translate(error: PyMongoError) -> StoreUnavailable:
    kind = type(error).__name__
    if error.timeout:
        return StoreUnavailable(f"the database did not do it in time ({kind})")
    if isinstance(error, ConnectionFailure):
        return StoreInterrupted(f"the connection to the database broke ({kind})")
    if isinstance(error, OperationFailure) and error.code is not None:
        return _fault(error.code) or StoreRefused(error.code)
    return StoreUnavailable(f"the database did not do it ({kind})")


def _fault(code: int) -> StoreUnavailable | None:
    """What a server code means that says nothing of a document or a collection; None when it does."""
    if code == UNAUTHORIZED:
        return AccessDenied("the user may not do this in this database")
    if code in _TIMEOUTS:
        return StoreUnavailable(f"the database did not do it in time (error {code})")
    if code in _INTERRUPTIONS:
        return StoreInterrupted(f"the database stopped taking writes (error {code})")
    return None
