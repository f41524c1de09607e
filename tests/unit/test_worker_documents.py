"""Documents: every field of the design, redacted, and a hash that is the same for the same content only."""

import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_core.envelope import Record
from sluice_core.reasons import UNENCODABLE_RECORD
from sluice_core.tenant import RedactionConfig, TenantConfig
from sluice_redact import MARK, Redactor
from sluice_worker.documents import ContentHash, Prepared, Preparer, derive_key, moment
from sluice_worker.handle import Message, items
from sluice_worker.preparers import Preparers
from unit.fakes import config, delivery, envelope, submission
from unit.strategies import records

_KEY = bytes(range(32))
_STARTED = datetime(2025, 1, 1, tzinfo=UTC)
_NOW = _STARTED + timedelta(seconds=1.5)
_REDACTOR = Redactor()


def _prepare(*batch: Record, tenant: TenantConfig | None = None, traceparent: str | None = None) -> list[Prepared]:
    message = Message(delivery(envelope(submission(*batch, traceparent=traceparent)), 7, time=1000))
    [(_, parts)] = items(message)
    return Preparer(tenant or config(), _REDACTOR, _KEY).prepare(parts, _NOW, _STARTED)[0]


def _document(record: Record, tenant: TenantConfig | None = None, traceparent: str | None = None) -> dict[str, Any]:
    [prepared] = _prepare(record, tenant=tenant, traceparent=traceparent)
    assert prepared.failure is None
    return bson.decode(prepared.document, bson.CodecOptions(tz_aware=True))


# -- the hash --------------------------------------------------------------------------------------------------------
@given(st.binary(max_size=64), st.binary(max_size=200))
def test_the_content_hash_is_hmac_sha256(key: bytes, content: bytes) -> None:
    assert ContentHash(key)(content) == hmac.new(key, content, hashlib.sha256).hexdigest()


def test_hashing_one_content_leaves_nothing_behind_for_the_next() -> None:
    hashed = ContentHash(b"key")
    assert [hashed(b"a"), hashed(b"b"), hashed(b"a")] == [ContentHash(b"key")(one) for one in (b"a", b"b", b"a")]


def test_every_provisioning_has_a_key_of_its_own() -> None:
    masters, purposes, uids = (_KEY, b"\0" * 32), (b"one", b"other"), ("u1", "u2", "")
    keys = {derive_key(master, purpose, uid) for master in masters for purpose in purposes for uid in uids}
    assert len(keys) == 12
    assert all(len(key) == 32 for key in keys)


@given(records, records)
def test_records_have_the_same_hash_when_their_content_is_the_same(one: Record, other: Record) -> None:
    first, second = (_prepare(record)[0].content_hash for record in (one, other))
    if (one.text, one.timestamp) != (other.text, other.timestamp):
        assert first != second
    renamed = Record("another id", one.text, one.timestamp, one.attributes)
    assert _prepare(renamed)[0].content_hash == first


def test_the_hash_does_not_depend_on_policy_or_original() -> None:
    record = Record("1", "mail a@b.co")
    hashes = {
        _prepare(record, tenant=tenant)[0].content_hash
        for tenant in (config(), config(keep_original=False), config(policy_revision=9, revision=9))
    }
    assert len(hashes) == 1


def test_another_provisioning_gives_the_same_content_another_hash_and_other_tokens() -> None:
    message = Message(delivery(envelope(submission(Record("1", "a@b.co"))), 7, time=1000))
    [(_, parts)] = items(message)
    hashing = RedactionConfig({"email": "Hash"})
    hashes, texts = set(), set()
    for uid in ("u1", "u2"):
        preparer = Preparers(_KEY).get(config(uid=uid, redaction=hashing))
        [[prepared], _] = preparer.prepare(parts, _NOW, _STARTED)
        hashes.add(prepared.content_hash)
        texts.add(bson.decode(prepared.document)["modified_data"])
    assert len(hashes) == len(texts) == 2


# -- the document ----------------------------------------------------------------------------------------------------
def test_a_document_has_every_field() -> None:
    record = Record("7", "mail a@b.co", 1_700_000_000_123_000, {"ip": "10.0.0.1", "n": 1})
    document = _document(record, config(policy_revision=4), "00-trace-01")
    assert document.pop("content_hash") == _prepare(record)[0].content_hash
    assert document == {
        "_id": "7",
        "source": "json_upload",
        "original_text": "mail a@b.co",
        "modified_data": f"mail {MARK}",
        "redactions": {"email": 1, "ipv4": 1},
        "timestamp": moment(1_700_000_000_123_000),
        "received_at": moment(1_000_000),
        "processed_at": _NOW,
        "processing_time": 1.5,
        "char_count": 11,
        "correlation_id": "request-1",
        "attributes": {"ip": MARK, "n": 1},
        "traceparent": "00-trace-01",
        "policy_revision": 4,
        "version": {"time": 1000, "sequence": 7, "position": 0},
    }


def test_a_record_of_text_alone_has_its_fields_too() -> None:
    document = _document(Record(None, "hello"))
    assert document["timestamp"] == document["received_at"] == moment(1_000_000)
    assert document["attributes"] == {}
    assert document["redactions"] == {}
    assert "traceparent" not in document
    assert document["_id"] == submission(Record(None, "hello")).log_id(0)


def test_a_record_with_attributes_but_no_time_was_when_it_was_received() -> None:
    assert _document(Record(None, "a", None, {"k": 1}))["timestamp"] == moment(1_000_000)
    assert _document(Record(None, "a", 5_000_000, None))["attributes"] == {}


def test_the_version_keeps_the_order_its_fields_are_compared_in() -> None:
    assert list(_document(Record(None, "a"))["version"]) == ["time", "sequence", "position"]


def test_where_the_original_is_dropped_no_field_holds_it() -> None:
    record = Record("7", "mail a@b.co", None, {"mail": "a@b.co"})
    [prepared] = _prepare(record, tenant=config(keep_original=False))
    assert b"a@b.co" not in prepared.document
    plain = hashlib.sha256(b"mail a@b.co").hexdigest()
    assert plain.encode() not in prepared.document
    assert "original_text" not in bson.decode(prepared.document)


@given(st.lists(records, max_size=5))
def test_a_batch_is_prepared_in_its_order_and_whole(batch: list[Record]) -> None:
    prepared = _prepare(*batch)
    assert [one.item.position for one in prepared] == list(range(len(batch)))
    for record, one in zip(batch, prepared, strict=True):
        assert one.failure is None
        document = bson.decode(one.document)
        assert document["_id"] == one.log_id == (record.log_id or one.item.submission.log_id(one.item.position))
        assert document["original_text"] == record.text
        assert document["char_count"] == len(record.text)
        assert document["content_hash"] == one.content_hash


def test_hits_are_counted_over_the_batch() -> None:
    message = Message(delivery(envelope(submission(Record(None, "a@b.co"), Record(None, "c@d.co 10.0.0.1")))))
    [(_, batch)] = items(message)
    _, totals = Preparer(config(), _REDACTOR, _KEY).prepare(batch, _NOW, _STARTED)
    assert totals == {"email": 2, "ipv4": 1}


@pytest.mark.parametrize("bad", [{"k": 2**64 - 1}, {"a\0b": 1}, {"k": "x" * (17 * 2**20)}])
def test_a_record_that_no_document_can_hold_fails_alone(bad: dict[str, Any]) -> None:
    good, failed, also_good = _prepare(Record("1", "a"), Record("2", "b", None, bad), Record("3", "c"))
    assert good.failure is also_good.failure is None
    assert failed.failure is not None
    assert failed.failure.reason is UNENCODABLE_RECORD
    assert failed.log_id == "2"
    assert failed.document == b""


def test_a_moment_is_microseconds_since_the_epoch() -> None:
    assert moment(0) == datetime(1970, 1, 1, tzinfo=UTC)
    assert moment(1_500_000) == datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)
