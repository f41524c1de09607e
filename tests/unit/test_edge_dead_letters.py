"""Dead letters: headers carry any id there and back, in one line of plain text."""

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from sluice_core.edge.dead_letters import DeadLetter, StoredDeadLetter, _read, version_text, write_dead_letter
from sluice_core.envelope import Record, encode_record
from sluice_core.version import Version
from unit.strategies import records, texts


class _Broker:
    """Keeps a publish's headers as they arrive at the other end."""

    subject = ""
    headers: Mapping[str, str]

    async def publish(
        self, subject: str, payload: bytes, *, stream: str, timeout: float, headers: dict[str, str]
    ) -> int:
        lines = []
        for name, value in headers.items():
            assert value.isprintable(), "a header is one line"
            assert value.isascii()
            # nats-py strips both ends of a value when it sends it and again when it reads it.
            assert value.strip(), "an empty value is not sent"
            lines.append((name.strip(), value.strip()))
        self.subject = subject
        self.headers = dict(lines)
        return 1


def _send(letter: DeadLetter) -> DeadLetter:
    broker = _Broker()
    asyncio.run(write_dead_letter(cast("Any", broker), letter, b"payload"))
    assert broker.subject == f"dlq.{letter.tenant_id}"
    return _read("a", {**broker.headers, "Nats-Expected-Stream": "SLUICE_DLQ", "Nats-Sequence": "1"})


_hostile = texts | st.text("\r\n\t \0\x7f\x85\u2028\\\"'nxu0é🙂\ud800:", max_size=12)


@given(_hostile, _hostile, _hostile, st.integers(0, 2**62), st.integers(1, 2**31))
@example(" id ", "id\\", "\\n", 0, 1)
@example("a\r\nNats-Rollup: all", "\\u0041", "\\\\", 0, 1)
@example("", "", "", 0, 1)
@example("true", "null", "5", 0, 1)
def test_a_letter_is_read_back_whatever_its_ids_are(
    log_id: str, request_id: str, detail: str, received_at: int, attempts: int
) -> None:
    letter = DeadLetter(
        tenant_id="acme",
        reason="write_refused",
        detail=detail,
        log_id=log_id,
        uid="u1",
        request_id=request_id,
        source="json_upload",
        received_at=received_at,
        attempts=attempts,
        version="1.2.3",
    )
    assert _send(letter) == letter


def test_a_letter_of_the_shortest_kind_is_read_back() -> None:
    letter = DeadLetter(tenant_id="_unreadable", reason="unreadable_message", detail="from stream S")
    assert _send(letter) == letter


def test_fields_of_a_later_release_are_passed_over() -> None:
    headers = {"Sluice-tenant_id": "a", "Sluice-reason": "r", "Sluice-detail": "d", "Sluice-node": "n"}
    assert _read("a", headers) == DeadLetter(tenant_id="a", reason="r", detail="d")


def test_a_version_is_three_numbers() -> None:
    assert version_text(Version(1, 2, 3)) == "1.2.3"


def _stored(payload: bytes) -> StoredDeadLetter:
    return StoredDeadLetter(1, "", DeadLetter(tenant_id="a", reason="r", detail="d"), payload)


@given(records)
def test_the_payload_is_the_record_as_it_was_accepted(record: Record) -> None:
    assert _stored(encode_record(record)).record() == record


@given(st.binary(max_size=60))
@example(b"\x94\xa1a\xa1b\xc0\x81\xa1a" + b"\x91" * 5000 + b"\x90")
@example(b"\x92\xa1\xff\xa1\xff")
@example(msgspec.msgpack.encode([2, []]))
def test_a_payload_that_is_no_record_is_none(payload: bytes) -> None:
    record = _stored(payload).record()
    assert record is None or isinstance(record, Record)


def test_a_message_that_is_no_dead_letter_does_not_hide_the_others() -> None:
    assert _read("acme", {"Nats-Sequence": "1"}).reason == "unreadable_message"
