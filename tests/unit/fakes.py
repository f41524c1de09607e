"""Stand-ins for the broker, the view of tenants, the lane and the database: small, exact, and in memory."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import bson
import msgspec
import pytest

from sluice_core.edge.pull import Delivery
from sluice_core.edge.store import Existing, Inserted
from sluice_core.envelope import Record, Submission, encode_envelope, encode_submission
from sluice_core.errors import BrokerUnavailable, Refusal
from sluice_core.names import SEAL_KEY, TENANTS_BUCKET
from sluice_core.reasons import Reason
from sluice_core.tenant import TenantConfig, encode_config
from sluice_core.version import Version
from unit.virtual import settle


@contextmanager
def refused(reason: Reason) -> Iterator[pytest.ExceptionInfo[Refusal]]:
    with pytest.raises(Refusal) as caught:
        yield caught
    assert caught.value.reason is reason


class FakeMsg:
    """As much of a NATS message as anybody reads."""

    def __init__(
        self, data: bytes = b"", subject: str = "", reply: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        self.data = data
        self.subject = subject
        self.reply = reply
        self.headers = headers


class FakeBucket:
    """A broker that has the tenants' bucket: answers direct gets in pages and passes on writes as hints."""

    def __init__(self, *configs: TenantConfig, sealed: bool = True) -> None:
        self.entries: dict[str, tuple[int, bytes]] = {}
        self.reads = 0
        """Snapshots that were begun."""
        self.down = False
        self.before_answer: Callable[[], Awaitable[None]] | None = None
        """Called when a page's content is decided and not yet delivered: whatever it does comes too late for it."""
        self._sequence = 0
        self._subscriber: Callable[[Any], Awaitable[None]] | None = None
        for config in configs:
            self.put(config.tenant_id, encode_config(config))
        if sealed:
            self.seal()

    def seal(self) -> None:
        self.put(SEAL_KEY, b"{}")

    def put(self, key: str, value: bytes) -> None:
        self._sequence += 1
        self.entries[key] = (self._sequence, value)

    def write(self, config: TenantConfig) -> None:
        self.put(config.tenant_id, encode_config(config))

    def remove(self, key: str) -> None:
        del self.entries[key]

    async def hint(self, key: str, value: bytes) -> None:
        assert self._subscriber is not None
        await self._subscriber(FakeMsg(value, f"$KV.{TENANTS_BUCKET}.{key}"))

    async def subscribe(self, subject: str, handle: Callable[[Any], Awaitable[None]]) -> None:
        assert subject == f"$KV.{TENANTS_BUCKET}.>"
        self._subscriber = handle

    async def stream_of_replies(self, subject: str, payload: bytes, timeout: float) -> AsyncGenerator[FakeMsg, None]:
        request = msgspec.json.decode(payload)
        if request["seq"] == 1:
            self.reads += 1
        rows = sorted((sequence, key, value) for key, (sequence, value) in self.entries.items())
        page = [row for row in rows if row[0] >= request["seq"]][: request["batch"]]
        if self.before_answer is not None:
            await self.before_answer()
        if self.down:
            await asyncio.sleep(timeout)
            raise BrokerUnavailable("the broker did not answer in time")
        for sequence, key, value in page:
            subject = f"$KV.{TENANTS_BUCKET}.{key}"
            yield FakeMsg(value, headers={"Nats-Sequence": str(sequence), "Nats-Subject": subject})
        yield FakeMsg(headers={"Status": "204" if page else "404"})


class FakeView:
    """What ingest and the worker ask of the tenants view. `on_confirm` says what a re-read brings."""

    def __init__(self, *configs: TenantConfig, complete: bool = True) -> None:
        self.complete = complete
        self.stale = False
        self.by_id: dict[str, TenantConfig] = {}
        self.on_confirm: Callable[[], None] = lambda: None
        self.readable = True
        self.confirms = 0
        self.set(*configs)

    def set(self, *configs: TenantConfig) -> None:
        self.by_id.update((config.tenant_id, config) for config in configs)

    def tenant(self, tenant_id: str) -> TenantConfig | None:
        return self.by_id.get(tenant_id)

    def holder(self, digest: str) -> TenantConfig | None:
        holders = (c for c in self.by_id.values() if any(key.digest == digest for key in c.keys))
        return next(holders, None)

    async def confirm(self, timeout: float) -> bool:
        self.confirms += 1
        await asyncio.sleep(0)
        if not self.readable:
            await asyncio.sleep(timeout)
            return False
        self.complete = True
        self.stale = False
        self.on_confirm()
        return True


class FakeStore:
    """The logs of all tenants with the database's own rules: unordered insert, `$lt` on versions, whole replacement.

    Every call first lets others run, so that two writers interleave wherever they could.
    """

    def __init__(self) -> None:
        self.documents: dict[str, dict[str, dict[str, Any]]] = {}
        self.refuse: set[str] = set()
        """Ids that the database never takes."""
        self.well = True
        """Whether there is a primary."""
        self.faults: list[Exception] = []
        """Raised by the next calls, one each."""
        self.calls: list[str] = []
        self.pause: Callable[[], Awaitable[None]] = lambda: asyncio.sleep(0)

    def of(self, tenant_id: str) -> dict[str, dict[str, Any]]:
        return self.documents.setdefault(tenant_id, {})

    async def _call(self, name: str) -> None:
        self.calls.append(name)
        await self.pause()
        if self.faults:
            raise self.faults.pop(0)

    async def writable(self) -> bool:
        return self.well

    async def insert(self, tenant_id: str, documents: Sequence[bytes]) -> Inserted:
        await self._call("insert")
        existing: list[int] = []
        refused_: dict[int, int] = {}
        for position, raw in enumerate(documents):
            document = bson.decode(raw)
            if document["_id"] in self.refuse:
                refused_[position] = 121
            elif document["_id"] in self.of(tenant_id):
                existing.append(position)
            else:
                self.of(tenant_id)[document["_id"]] = document
        return Inserted(existing, refused_)

    async def find(self, tenant_id: str, log_ids: Iterable[str]) -> dict[str, Existing]:
        await self._call("find")
        found = {log_id: self.of(tenant_id)[log_id] for log_id in log_ids if log_id in self.of(tenant_id)}
        return {log_id: Existing(one["content_hash"], Version(**one["version"])) for log_id, one in found.items()}

    async def raise_versions(self, tenant_id: str, versions: Mapping[str, Existing]) -> int:
        await self._call("raise_versions")
        matched = 0
        for log_id, (content_hash, version) in versions.items():
            document = self.of(tenant_id).get(log_id)
            if document and document["content_hash"] == content_hash and Version(**document["version"]) < version:
                document["version"] = version.document()
                matched += 1
        return matched

    async def replace(self, tenant_id: str, log_id: str, version: Version, document: bytes) -> bool:
        await self._call("replace")
        current = self.of(tenant_id).get(log_id)
        if current is None or Version(**current["version"]) >= version:
            return False
        self.of(tenant_id)[log_id] = bson.decode(document)
        return True


class FakeLane:
    """A lane's consumer: hands out what was put into it and notes what became of it."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Delivery] = asyncio.Queue()
        self.acknowledged: list[int] = []
        self.given_back: list[int] = []
        self.put_off_for: dict[int, float] = {}
        self.alive: list[int] = []
        self.waiting: tuple[Delivery, ...] = ()
        self.requests: list[tuple[float, int, int]] = []
        self.down = False

    def put(self, *deliveries: Delivery) -> None:
        for delivery in deliveries:
            self.queue.put_nowait(delivery)

    async def next(self, timeout: float, *, batch: int, max_bytes: int) -> Delivery | None:
        self.requests.append((timeout, batch, max_bytes))
        self._check()
        try:
            async with asyncio.timeout(timeout):
                return await self.queue.get()
        except TimeoutError:
            return None

    async def acknowledge(self, delivery: Delivery) -> None:
        self._check()
        self.acknowledged.append(delivery.sequence)

    async def in_progress(self, delivery: Delivery) -> None:
        self._check()
        self.alive.append(delivery.sequence)

    async def give_back(self, delivery: Delivery) -> None:
        self.given_back.append(delivery.sequence)

    async def put_off(self, delivery: Delivery, seconds: float) -> None:
        self.put_off_for[delivery.sequence] = seconds

    def _check(self) -> None:
        if self.down:
            raise BrokerUnavailable("not connected to the broker")


class FakePublisher:
    """A broker that holds every publish until somebody decides about it."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes]] = []
        self.headers: list[dict[str, str] | None] = []
        self.open: list[tuple[str, bytes, asyncio.Future[int]]] = []
        self.most_open = 0

    async def publish(
        self, subject: str, payload: bytes, *, stream: str, timeout: float, headers: dict[str, str] | None = None
    ) -> int:
        kind, _, name = subject.partition(".")
        assert stream == ("SLUICE_DLQ" if kind == "parked" else f"SLUICE_LANE_{name}")
        self.headers.append(headers)
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        entry = (subject, payload, answer)
        self.sent.append((subject, payload))
        self.open.append(entry)
        self.most_open = max(self.most_open, len(self.open))
        try:
            async with asyncio.timeout(timeout):
                return await answer
        except TimeoutError:
            raise BrokerUnavailable("the broker did not answer in time") from None
        finally:
            self.open.remove(entry)

    async def answer(self, place: int = 0, error: Exception | None = None) -> None:
        _, _, future = self.open[place]
        if error is None:
            future.set_result(len(self.sent))
        else:
            future.set_exception(error)
        await settle()


def delivery(payload: bytes, sequence: int = 1, *, delivered: int = 1, time: int = 0) -> Delivery:
    return Delivery(payload, f"reply.{sequence}", "SLUICE_LANE_standard", delivered, sequence, time or sequence)


def submission(*records: Record, tenant_id: str = "acme", uid: str = "u1", **more: Any) -> Submission:
    base = (7).to_bytes(16)
    return Submission(tenant_id, uid, "request-1", "json_upload", 1_000_000, base, 0, list(records), **more)


def envelope(*submissions: Submission) -> bytes:
    return encode_envelope([encode_submission(one) for one in submissions])


def config(tenant_id: str = "acme", uid: str = "u1", **fields: Any) -> TenantConfig:
    return TenantConfig(tenant_id=tenant_id, uid=uid, **{"revision": 1, **fields})
