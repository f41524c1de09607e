"""From a record to the document that is stored, redacted and hashed under its tenant's own terms.

Invariant: two records with the same content give the same hash whenever and wherever they are processed; and where the
original is dropped, nothing in the document lets anybody look it up.
"""

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from sluice_core.edge.store import Unencodable, encode_document
from sluice_core.envelope import encode_content
from sluice_core.tenant import TenantConfig
from sluice_redact import Redacted, RedactionError, Redactor
from sluice_worker.handle import Item

_EPOCH = datetime.fromtimestamp(0, UTC)
_BLOCK = 64
"""Block size of SHA-256."""


class ContentHash:
    """HMAC-SHA-256 under a tenant's key, with the key's two blocks hashed once instead of once a record."""

    def __init__(self, key: bytes) -> None:
        padded = key.ljust(_BLOCK, b"\0")
        self._inner = sha256(bytes(byte ^ 0x36 for byte in padded))
        self._outer = sha256(bytes(byte ^ 0x5C for byte in padded))

    def __call__(self, content: bytes) -> str:
        """In hexadecimal."""
        inner = self._inner.copy()
        inner.update(content)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.hexdigest()


def derive_key(master_secret: bytes, uid: str) -> bytes:
    """A tenant's hashing key: another uid, another key, so a tenant made anew shares nothing with its predecessor."""
    return bytes.fromhex(ContentHash(master_secret)(b"sluice content hash\0" + uid.encode()))


class Prepared:
    """A record ready to be written, or the reason why it never can be."""

    __slots__ = ("content_hash", "document", "failure", "item", "log_id")

    def __init__(self, item: Item, log_id: str, content_hash: str, document: bytes, failure: Exception | None) -> None:
        self.item = item
        self.log_id = log_id
        self.content_hash = content_hash
        self.document = document
        self.failure = failure


class Preparer:
    """Prepares the records of one tenant under one revision of its config."""

    def __init__(self, config: TenantConfig, redactor: Redactor, master_secret: bytes) -> None:
        self.config = config
        self._redactor = redactor
        self._hash = ContentHash(derive_key(master_secret, config.uid))

    def prepare(self, batch: list[Item], now: datetime, started: datetime) -> tuple[list[Prepared], dict[str, int]]:
        """The batch's documents, and how many places each detector blotted out.

        `now` becomes `processed_at`; the time since `started` becomes `processing_time`.
        """
        records = [item.submission.records[item.position] for item in batch]
        outcomes = self._redactor.redact([record.text for record in records])
        seconds = (now - started).total_seconds()
        totals: dict[str, int] = {}
        prepared: list[Prepared] = []
        for item, record, outcome in zip(batch, records, outcomes, strict=True):
            log_id = item.submission.log_id(item.position)
            try:
                if isinstance(outcome, RedactionError):
                    raise outcome
                content_hash = self._hash(encode_content(record))
                document = self._document(item, log_id, outcome, content_hash, now, seconds)
                for detector, count in document["redactions"].items():
                    totals[detector] = totals.get(detector, 0) + count
                prepared.append(Prepared(item, log_id, content_hash, encode_document(document), None))
            except (RedactionError, Unencodable) as error:
                prepared.append(Prepared(item, log_id, "", b"", error))
        return prepared, totals

    def _document(
        self, item: Item, log_id: str, redacted: Redacted, content_hash: str, now: datetime, seconds: float
    ) -> dict[str, Any]:
        submission = item.submission
        record = submission.records[item.position]
        received_at = moment(submission.received_at)
        document: dict[str, Any] = {"_id": log_id, "source": submission.source}
        if self.config.keep_original:
            document["original_text"] = record.text
        document["modified_data"] = redacted.text
        document["redactions"] = dict(redacted.hits)
        document["timestamp"] = received_at if record.timestamp is None else moment(record.timestamp)
        document["received_at"] = received_at
        document["processed_at"] = now
        document["processing_time"] = seconds
        document["char_count"] = len(record.text)
        document["content_hash"] = content_hash
        document["correlation_id"] = submission.request_id
        document["attributes"] = {}
        if record.attributes is not None:
            document["attributes"], hits = self._redactor.redact_values(record.attributes)
            document["redactions"] = _add(redacted.hits, hits)
        if submission.traceparent is not None:
            document["traceparent"] = submission.traceparent
        document["policy_revision"] = self.config.policy_revision
        document["version"] = item.version.document()
        return document


def moment(micros: int) -> datetime:
    """A date from microseconds since the epoch."""
    return _EPOCH + timedelta(microseconds=micros)


def _add(one: Any, other: Any) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}
