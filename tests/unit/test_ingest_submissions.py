"""Requests that span envelopes: every record is in one part, in order, under the id the sender was told."""

from hypothesis import given
from hypothesis import strategies as st

from sluice_core.envelope import Record, Submission, decode_envelope, encode_envelope
from sluice_core.ids import uuid7
from sluice_core.limits import ENVELOPE_BYTES, MIB
from sluice_ingest.admit import log_ids, submissions

_BASE = uuid7(1_700_000_000_000)


def _split(records: list[Record], *, request_id: str = "r" * 128) -> list[Submission]:
    encoded = submissions(
        records,
        tenant_id="t" * 40,
        uid="u" * 16,
        request_id=request_id,
        source="ndjson_upload",
        received_at=1_700_000_000_000_000,
        base=_BASE,
        traceparent="p" * 120,
    )
    parts: list[Submission] = []
    for one in encoded:
        message = encode_envelope([one])
        [part] = decode_envelope(message).submissions
        assert len(message) <= ENVELOPE_BYTES or len(part.records) == 1
        parts.append(part)
    return parts


def _check(records: list[Record]) -> list[Submission]:
    parts = _split(records)
    assert [record for part in parts for record in part.records] == records
    assert all(part.records for part in parts)
    derived = [part.log_id(position) for part in parts for position in range(len(part.records))]
    assert derived == log_ids(records, _BASE)
    firsts = [part.first for part in parts]
    assert firsts == [sum(len(part.records) for part in parts[:place]) for place in range(len(parts))]
    return parts


_sizes = st.sampled_from([1, 10, 1000, 40_000, 100_000, ENVELOPE_BYTES - 600, ENVELOPE_BYTES, 400_000])


@given(st.lists(st.tuples(_sizes, st.none() | st.sampled_from(["own", "i" * 256])), min_size=1, max_size=14))
def test_any_request_is_split_without_losing_order_or_ids(shapes: list[tuple[int, str | None]]) -> None:
    _check([Record(log_id, str(place) + "x" * size) for place, (size, log_id) in enumerate(shapes)])


def test_a_small_request_is_one_part() -> None:
    [part] = _check([Record(None, "a"), Record("own", "b")])
    assert (part.tenant_id, part.uid, part.request_id, part.source) == ("t" * 40, "u" * 16, "r" * 128, "ndjson_upload")
    assert (part.received_at, part.traceparent) == (1_700_000_000_000_000, "p" * 120)


def test_a_record_larger_than_an_envelope_goes_by_itself() -> None:
    parts = _check([Record(None, "a"), Record(None, "x" * MIB), Record(None, "b")])
    assert [len(part.records) for part in parts if len(part.records[0].text) == MIB] == [1]


def test_many_small_records_make_about_as_few_envelopes_as_their_bytes_need() -> None:
    records = [Record(None, f"{place:06} " + "x" * 93) for place in range(20_000)]
    parts = _check(records)
    assert len(parts) <= 2 * (20_000 * 105 // ENVELOPE_BYTES + 1)


def test_one_huge_record_among_many_does_not_scatter_the_others() -> None:
    records = [Record(None, "x" * 10) for _ in range(5000)]
    records[2500] = Record(None, "x" * MIB)
    assert len(_check(records)) < 60


def test_the_tiniest_records_are_split_as_well() -> None:
    _check([Record(None, "x")] * 50_000)
