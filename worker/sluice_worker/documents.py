"""From a record to the document that is stored, redacted and hashed under its tenant's own terms.

Invariant: two records with the same content give the same hash whenever and wherever they are processed; and where the
original is dropped, nothing in the document lets anybody look it up.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from sluice_core.edge.store import encode_fields, join_document
from sluice_core.envelope import Record, Submission, encode_content
from sluice_core.errors import Unencodable
from sluice_core.reasons import REDACTION_FAILED, UNENCODABLE_RECORD, Reason
from sluice_core.tenant import TenantConfig
from sluice_redact import Redacted, RedactedValue, RedactionError, Redactor
from sluice_worker.handle import Item

_EPOCH = datetime.fromtimestamp(0, UTC)
_NO_ATTRIBUTES = RedactedValue({}, {})
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


def derive_key(master_secret: bytes, purpose: bytes, uid: str) -> bytes:
    """A tenant's key for one purpose: another uid, another key, so a tenant made anew shares nothing with it."""
    return bytes.fromhex(ContentHash(master_secret)(purpose + b"\0" + uid.encode()))


class Failure(NamedTuple):
    """Why a record can never be written."""

    reason: Reason
    detail: str
    """Never holds data of the record."""


class Prepared(msgspec.Struct, gc=False, eq=False):
    """A record ready to be written, or the reason why it never can be."""

    item: Item
    log_id: str
    content_hash: str
    document: bytes
    failure: Failure | None


class Preparer:
    """Prepares the records of one tenant under one revision of its config."""

    def __init__(self, config: TenantConfig, redactor: Redactor, hash_key: bytes) -> None:
        self.config = config
        self._redactor = redactor
        self._hash = ContentHash(hash_key)

    def prepare(self, batch: list[Item], now: datetime, started: datetime) -> tuple[list[Prepared], dict[str, int]]:
        """The batch's documents, and how many places each detector blotted out.

        `now` becomes `processed_at`; the time since `started` becomes `processing_time`.
        """
        records = [item.submission.records[item.position] for item in batch]
        outcomes = self._redactor.redact([record.text for record in records])
        structured = [record.attributes for record in records if record.attributes]
        values = iter(self._redactor.redact_values(structured) if structured else ())
        stamps = {"processed_at": now, "processing_time": (now - started).total_seconds()}
        totals: dict[str, int] = {}
        prepared: list[Prepared] = []
        submission: Submission | None = None
        for item, record, outcome in zip(batch, records, outcomes, strict=True):
            if item.submission is not submission:
                submission = item.submission
                common, plain = self._common(submission, stamps)
                generated_id = submission.generated_ids()
            log_id = generated_id(item.position) if record.log_id is None else record.log_id
            attributes = next(values) if record.attributes else _NO_ATTRIBUTES
            try:
                if isinstance(outcome, RedactionError):
                    raise outcome
                if isinstance(attributes, RedactionError):
                    raise attributes
                content_hash = self._hash(encode_content(record))
                own, hits = self._own(item, record, log_id, outcome, attributes, content_hash)
                is_plain = record.timestamp is None and record.attributes is None
                document = join_document(encode_fields(own), plain if is_plain else common)
            except (RedactionError, Unencodable) as error:
                prepared.append(Prepared(item, log_id, "", b"", explain(error)))
                continue
            prepared.append(Prepared(item, log_id, content_hash, document, None))
            for detector, count in hits.items():
                totals[detector] = totals.get(detector, 0) + count
        return prepared, totals

    def _common(self, submission: Submission, stamps: dict[str, Any]) -> tuple[bytes, bytes]:
        """What all documents of a submission share, encoded: of any record, and of one that is only a text."""
        received_at = moment(submission.received_at)
        common = {
            "source": submission.source,
            "received_at": received_at,
            **stamps,
            "correlation_id": submission.request_id,
            "policy_revision": self.config.policy_revision,
        }
        if submission.traceparent is not None:
            common["traceparent"] = submission.traceparent
        return encode_fields(common), encode_fields({**common, "timestamp": received_at, "attributes": {}})

    def _own(
        self,
        item: Item,
        record: Record,
        log_id: str,
        redacted: Redacted,
        attributes: RedactedValue,
        content_hash: str,
    ) -> tuple[dict[str, Any], Mapping[str, int]]:
        """The fields of one document that it shares with no other, and its hits."""
        hits = redacted.hits
        fields: dict[str, Any] = {"_id": log_id}
        if self.config.keep_original:
            fields["original_text"] = record.text
        fields["modified_data"] = redacted.text
        fields["char_count"] = len(record.text)
        fields["content_hash"] = content_hash
        fields["version"] = item.version.document()
        if record.timestamp is not None or record.attributes is not None:
            micros = item.submission.received_at if record.timestamp is None else record.timestamp
            fields["timestamp"] = moment(micros)
            fields["attributes"] = attributes.value
            hits = _add(hits, attributes.hits) if attributes.hits else hits
        fields["redactions"] = dict(hits)
        return fields, hits


def explain(error: Exception) -> Failure:
    """What an error says of the record at which it was raised. Fail closed: what is not understood is not stored."""
    if isinstance(error, Unencodable):
        return Failure(UNENCODABLE_RECORD, str(error))
    return Failure(REDACTION_FAILED, type(error).__name__)


def refuse(batch: Sequence[Item], failure: Failure) -> list[Prepared]:
    """The records of a batch of which none can be prepared."""
    return [Prepared(item, item.submission.log_id(item.position), "", b"", failure) for item in batch]


def moment(micros: int) -> datetime:
    """A date from microseconds since the epoch. Raises Unencodable for one that no calendar has."""
    try:
        return _EPOCH + timedelta(microseconds=micros)
    except OverflowError:
        raise Unencodable("OverflowError") from None


def _add(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}
