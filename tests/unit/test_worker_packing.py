"""Packing records into letters: each once, with its id and version, and no letter larger than it must be."""

from hypothesis import given
from hypothesis import strategies as st

from sluice_core.envelope import Record, Submission, decode_envelope, encode_submission
from sluice_core.letter import enclose
from sluice_core.limits import ENVELOPE_BYTES
from sluice_core.reasons import STORE_REFUSES
from sluice_core.version import Version
from sluice_worker.handle import Item, Message, items
from sluice_worker.packing import alone, pack
from unit.fakes import delivery, envelope, submission
from unit.strategies import records


def _batch(*parts: Submission) -> list[Item]:
    message = Message(delivery(envelope(*parts), 7, time=1000))
    return [item for _, part in items(message) for item in part]


def _letters(batch: list[Item], most_bytes: int = ENVELOPE_BYTES) -> list[bytes]:
    return [enclose([one for one, _ in letter], STORE_REFUSES)[1] for letter in pack(batch, most_bytes)]


def _seen(payloads: list[bytes]) -> list[tuple[Version, str, str]]:
    """What a worker sees when these letters came back, each in a message of its own."""
    back = [Message(delivery(payload, 100 + number)) for number, payload in enumerate(payloads)]
    return [_identity(item) for message in back for _, part in items(message) for item in part]


def _identity(item: Item) -> tuple[Version, str, str]:
    return item.version, item.submission.log_id(item.position), item.submission.records[item.position].text


@given(st.lists(st.lists(records, min_size=1, max_size=6), min_size=1, max_size=4), st.integers(1, 600), st.data())
def test_every_record_is_in_one_letter_with_its_id_and_its_version(
    shape: list[list[Record]], most_bytes: int, data: st.DataObject
) -> None:
    batch = _batch(*(submission(*part) for part in shape))
    batch = [item for item in batch if data.draw(st.booleans())]
    payloads = _letters(batch, most_bytes)
    assert _seen(payloads) == [_identity(item) for item in batch]
    for payload in payloads:
        records_of_it = sum(len(one.records) for one in decode_envelope(payload).submissions)
        assert len(payload) <= most_bytes or records_of_it == 1


def test_what_fits_is_one_letter() -> None:
    batch = _batch(*(submission(Record(None, "x" * 100)) for _ in range(50)))
    [payload] = _letters(batch)
    assert len(decode_envelope(payload).submissions) == 50


def test_records_that_grow_when_they_are_picked_out_are_more_letters() -> None:
    """A derived id costs nothing in its submission and 38 bytes when its record travels alone."""
    batch = _batch(submission(*[Record(None, "x")] * 10_000))
    payloads = _letters(batch)
    assert len(payloads) > 1
    assert all(len(payload) <= ENVELOPE_BYTES for payload in payloads)
    assert sum(len(decode_envelope(one).submissions[0].records) for one in payloads) == 10_000


def test_a_version_is_kept_through_any_number_of_detours() -> None:
    batch = _batch(submission(Record("a", "x"), Record("b", "y")), submission(Record(None, "z")))
    expected = [_identity(item) for item in batch]
    for attempts in range(1, 4):
        [payload] = _letters(batch)
        message = Message(delivery(payload, 100 + attempts, time=5000 + attempts))
        batch = [item for _, part in items(message) for item in part]
        assert [_identity(item) for item in batch] == expected
        assert {item.submission.attempts for item in batch} == {attempts}


def test_alone_a_record_keeps_all_but_its_company() -> None:
    first, second = _batch(submission(Record("a", "x"), Record(None, "y")))
    picked = alone(second)
    assert picked.records == [Record(first.submission.log_id(1), "y")]
    assert (picked.accepted_as, picked.positions, picked.attempts) == ((1000, 7), [1], 0)
    assert decode_envelope(envelope(picked)).sizes == [len(encode_submission(picked))]
