"""Letters: headers carry any id there and back, in one line of plain text, and a record keeps its id and version."""

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from sluice_core.edge.letters import write_letter
from sluice_core.envelope import Record, Submission, encode_envelope, encode_submission
from sluice_core.letter import Letter, StoredLetter, enclose, pick_out, read_letter, version_text
from sluice_core.reasons import STORE_REFUSES, WRITE_REFUSED
from sluice_core.version import Version
from unit.fakes import submission
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


def _send(letter: Letter) -> Letter:
    broker = _Broker()
    asyncio.run(write_letter(cast("Any", broker), "dlq.acme", letter, b"payload"))
    assert broker.subject == "dlq.acme"
    return read_letter("a", {**broker.headers, "Nats-Expected-Stream": "SLUICE_DLQ", "Nats-Sequence": "1"})


_hostile = texts | st.text("\r\n\t \0\x7f\x85\u2028\\\"'nxu0é🙂\ud800:", max_size=12)


@given(_hostile, _hostile, _hostile, st.integers(0, 2**62), st.integers(1, 2**31))
@example(" id ", "id\\", "\\n", 0, 1)
@example("a\r\nNats-Rollup: all", "\\u0041", "\\\\", 0, 1)
@example("", "", "", 0, 1)
@example("true", "null", "5", 0, 1)
def test_a_letter_is_read_back_whatever_its_ids_are(
    log_id: str, request_id: str, detail: str, received_at: int, attempts: int
) -> None:
    letter = Letter(
        tenant_id="acme",
        reason="write_refused",
        detail=detail,
        log_id=log_id,
        records=attempts,
        uid="u1",
        request_id=request_id,
        source="json_upload",
        received_at=received_at,
        attempts=attempts,
        version="1.2.3",
    )
    assert _send(letter) == letter


def test_a_letter_of_the_shortest_kind_is_read_back() -> None:
    letter = Letter(tenant_id="_unreadable", reason="unreadable_message")
    assert _send(letter) == letter


def test_fields_of_a_later_release_are_passed_over() -> None:
    headers = {"Sluice-tenant_id": "a", "Sluice-reason": "r", "Sluice-detail": "d", "Sluice-node": "n"}
    assert read_letter("a", headers) == Letter(tenant_id="a", reason="r", detail="d")


def test_a_message_that_is_no_letter_does_not_hide_the_others() -> None:
    assert read_letter("acme", {"Nats-Sequence": "1"}).reason == "unreadable_message"


def test_a_version_is_three_numbers() -> None:
    assert version_text(Version(1, 2, 3)) == "1.2.3"


# -- what is in it ---------------------------------------------------------------------------------------------------
def _stored(payload: bytes) -> StoredLetter:
    return StoredLetter(1, "", Letter(tenant_id="a", reason="r"), payload)


@given(st.lists(records, min_size=1, max_size=5), st.data())
def test_a_record_that_is_picked_out_keeps_its_id_its_version_and_its_origin(
    sent: list[Record], data: st.DataObject
) -> None:
    whole = submission(*sent, traceparent="00-1")
    chosen = data.draw(st.lists(st.sampled_from(range(len(sent))), min_size=1, unique=True))
    versions = [Version(5, 6, position + 100) for position in chosen]
    picked = pick_out(whole, chosen, versions)
    assert [picked.log_id(place) for place in range(len(chosen))] == [whole.log_id(position) for position in chosen]
    assert [msgspec.structs.replace(one, log_id=None) for one in picked.records] == [
        msgspec.structs.replace(sent[position], log_id=None) for position in chosen
    ]
    assert (picked.accepted_as, picked.positions) == ((5, 6), [position + 100 for position in chosen])
    assert (picked.tenant_id, picked.uid, picked.request_id, picked.traceparent) == ("acme", "u1", "request-1", "00-1")


def test_picking_changes_nothing_of_what_was_picked_from() -> None:
    whole = submission(Record(None, "a"), Record(None, "b"))
    before = encode_submission(whole)
    pick_out(whole, [1], [Version(5, 6, 7)])
    assert encode_submission(whole) == before


def test_a_letter_describes_its_first_record_and_counts_all() -> None:
    whole = submission(Record("a", "x"), Record("b", "y"), Record(None, "z"))
    parts = [pick_out(whole, [1, 2], [Version(5, 6, 8), Version(5, 6, 9)]), pick_out(whole, [0], [Version(5, 6, 7)])]
    letter, payload = enclose(parts, STORE_REFUSES, "AccessDenied", 3)
    assert letter == Letter(
        tenant_id="acme",
        reason="store_refuses",
        detail="AccessDenied",
        log_id="b",
        records=3,
        uid="u1",
        request_id="request-1",
        source="json_upload",
        received_at=1_000_000,
        attempts=3,
        version="5.6.8",
    )
    assert _stored(payload).submissions() == parts
    assert payload == encode_envelope([encode_submission(part) for part in parts]), "it can go back into its lane"


def test_no_header_holds_a_text() -> None:
    picked = pick_out(submission(Record("a", "confidential")), [0], [Version(5, 6, 7)])
    letter, _ = enclose([picked], WRITE_REFUSED, "the database answered error 121")
    assert "confidential" not in repr(letter)


@given(st.binary(max_size=60))
@example(b"")
@example(b"\x92\x01" + b"\x91" * 5000 + b"\x90")
@example(b"\x92\x01\x91\xa1\xff")
@example(msgspec.msgpack.encode([2, []]))
def test_a_payload_that_is_no_envelope_holds_no_submissions(payload: bytes) -> None:
    found = _stored(payload).submissions()
    assert found is None or all(isinstance(one, Submission) for one in found)
