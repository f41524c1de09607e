"""What a message means: versions, verdicts, and groups by delay."""

import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sluice_core.envelope import Record
from sluice_core.tenant import TenantConfig
from sluice_core.version import Version
from sluice_worker.handle import Message, Verdict, by_delay, items, judge, read_envelope
from unit.fakes import config, delivery, envelope, submission
from unit.strategies import records


@given(st.lists(st.lists(records, max_size=3), max_size=4))
def test_every_record_becomes_one_item_and_counts_as_unsettled(shape: list[list[Record]]) -> None:
    message = Message(delivery(envelope(*(submission(*part) for part in shape)), 7, time=1000))
    parts = items(message)
    assert [[item.submission.records[item.position] for item in part] for _, part in parts] == shape
    assert message.unsettled == sum(map(len, shape))
    versions = [item.version for _, part in parts for item in part]
    assert versions == [Version(1000, 7, index) for index in range(len(versions))]
    assert all(item.message is message for _, part in parts for item in part)


def test_versions_are_the_same_on_every_delivery() -> None:
    payload = envelope(submission(Record(None, "a"), Record(None, "b")))
    first, again = (Message(delivery(payload, 7, time=1000, delivered=count)) for count in (1, 5))
    assert [item.version for _, part in items(first) for item in part] == [
        item.version for _, part in items(again) for item in part
    ]


@given(st.lists(st.booleans(), min_size=1, max_size=5))
def test_records_that_come_back_keep_the_version_they_were_accepted_as(detours: list[bool]) -> None:
    fresh = submission(Record(None, "a"), Record(None, "b"))
    back = submission(Record("c", "c"), Record("d", "d"), accepted_as=(500, 3), positions=[9, 4])
    message = Message(delivery(envelope(*(back if detour else fresh for detour in detours)), 7, time=1000))
    for place, (detour, (_, part)) in enumerate(zip(detours, items(message), strict=True)):
        versions = [item.version for item in part]
        if detour:
            assert versions == [Version(500, 3, 9), Version(500, 3, 4)]
        else:
            assert versions == [Version(1000, 7, 2 * place), Version(1000, 7, 2 * place + 1)]


def test_a_later_message_is_newer_whatever_the_position() -> None:
    one = Message(delivery(envelope(submission(*[Record("x", "a")] * 3)), 1, time=1000))
    other = Message(delivery(envelope(submission(Record("x", "b"))), 2, time=1000))
    [(_, earlier)], [(_, [later])] = items(one), items(other)
    assert all(item.version < later.version for item in earlier)


@given(st.binary(max_size=80))
@example(b"")
@example(b"\x92\x02\x90")
@example(b"\x92\x01" + b"\x91" * 10_000)
@example(b"\x92\x01\xdd\xff\xff\xff\xff")
@example(b"\x92\x01\x91\x98\xa1\xff")
def test_a_message_that_is_no_envelope_is_one_thing_to_settle(payload: bytes) -> None:
    message = Message(delivery(payload))
    if message.envelope is None:
        assert read_envelope(payload) is None
        assert message.unsettled == 1
        assert items(message) == []


@pytest.mark.parametrize(
    ("known", "confirmed", "verdict"),
    [
        (config(), False, Verdict.STORE),
        (config(), True, Verdict.STORE),
        (config(state="gone"), False, Verdict.STORE),
        (config(suspension="Reject"), False, Verdict.STORE),
        (None, False, Verdict.UNSURE),
        (None, True, Verdict.DISCARD),
        (config(uid="u2"), False, Verdict.UNSURE),
        (config(uid="u2"), True, Verdict.DISCARD),
        (config(uid="u2", state="gone"), True, Verdict.DISCARD),
    ],
)
def test_a_submission_is_judged_by_its_provisioning(
    known: TenantConfig | None,
    confirmed: bool,
    verdict: Verdict,
) -> None:
    assert judge(submission(), known, confirmed=confirmed) is verdict


@given(st.lists(st.integers(1, 5), max_size=10))
def test_records_are_grouped_by_how_long_they_are_held_in_their_order(lengths: list[int]) -> None:
    message = Message(delivery(envelope(submission(*(Record(None, "x" * length) for length in lengths)))))
    [(_, batch)] = items(message)
    groups = by_delay(batch, 0.5)
    for delay, group in groups.items():
        assert group == [item for item, length in zip(batch, lengths, strict=True) if length * 0.5 == delay]
    assert sum(map(len, groups.values())) == len(batch)
    assert by_delay(batch, 0.0) == {0.0: batch}


def test_the_delay_counts_characters_not_bytes() -> None:
    [(_, batch)] = items(Message(delivery(envelope(submission(Record(None, "日本"))))))
    assert list(by_delay(batch, 1.0)) == [2.0]


@pytest.mark.parametrize(
    ("length", "records", "submissions"), [(1, 2000, 1), (108, 1000, 2), (108, 1, 1000), (10_000, 10, 2)]
)
def test_a_message_takes_about_as_much_memory_as_it_says(length: int, records: int, submissions: int) -> None:
    texts = [f"{number:0{length}}" for number in range(records)]
    payload = envelope(*(submission(*(Record(None, text) for text in texts)) for _ in range(submissions)))
    tracemalloc.start()
    try:
        held: list[object] = []
        said = 0
        for sequence in range(1_000_000, 1_000_003):
            message = Message(delivery(bytes(bytearray(payload)), sequence))
            held += [message, items(message)]
            said += message.size
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert 0.5 * said < taken < 1.15 * said
