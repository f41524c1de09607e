"""Which letters a command takes: each criterion alone, together, and none."""

from datetime import UTC, datetime, timedelta

import pytest
import typer

from sluice_cli.letter_filter import LetterFilter, log_ids, read_filter, require_choice
from sluice_core.envelope import Record, Submission
from sluice_core.letter import Letter, StoredLetter, enclose, pick_out
from sluice_core.reasons import STORE_REFUSES, WRITE_REFUSED, Reason
from sluice_core.version import Version

SET_ASIDE = datetime(2026, 1, 2, 3, 4, 5, 600_000, tzinfo=UTC)


def letter(*ids: str, sequence: int = 7, reason: Reason = WRITE_REFUSED) -> StoredLetter:
    """A letter of one submission with these records."""
    records = [Record(log_id, "text") for log_id in ids]
    submission = Submission("acme", "u1", "req", "json_upload", 1, bytes(16), 0, records)
    versions = [Version(1, 2, place) for place in range(len(ids))]
    head, payload = enclose([pick_out(submission, range(len(ids)), versions)], reason)
    return StoredLetter(sequence, "2026-01-02T03:04:05.6Z", head, payload)


LETTER = letter("first", "second")


@pytest.mark.parametrize(
    ("chosen", "taken"),
    [
        (LetterFilter(), True),
        (LetterFilter(reason="write_refused"), True),
        (LetterFilter(reason="redaction_failed"), False),
        (LetterFilter(log_id="second"), True),
        (LetterFilter(log_id="third"), False),
        (LetterFilter(sequences=frozenset({6, 7})), True),
        (LetterFilter(sequences=frozenset({6, 8})), False),
        (LetterFilter(since=SET_ASIDE), True),
        (LetterFilter(since=SET_ASIDE + timedelta(microseconds=1)), False),
        (LetterFilter(until=SET_ASIDE), False),
        (LetterFilter(until=SET_ASIDE + timedelta(microseconds=1)), True),
        (LetterFilter(reason="write_refused", log_id="first", sequences=frozenset({7}), since=SET_ASIDE), True),
        (LetterFilter(reason="write_refused", log_id="first", sequences=frozenset({8}), since=SET_ASIDE), False),
    ],
)
def test_a_letter_is_taken_when_all_that_is_asked_for_holds(chosen: LetterFilter, taken: bool) -> None:
    assert chosen.takes(LETTER) is taken


def test_only_a_filter_that_says_something_narrows() -> None:
    assert not LetterFilter().narrows
    assert LetterFilter(reason="write_refused").narrows
    assert LetterFilter(sequences=frozenset({1})).narrows


def test_the_ids_of_all_records_are_known_and_of_what_cannot_be_read_the_one_in_its_headers() -> None:
    assert log_ids(LETTER) == ["first", "second"]
    unreadable = StoredLetter(1, "2026-01-02T03:04:05Z", Letter(tenant_id="a", reason="r", log_id="x"), b"garbage")
    assert log_ids(unreadable) == ["x"]
    assert LetterFilter(log_id="x").takes(unreadable)


def test_a_command_line_is_read_as_a_filter() -> None:
    chosen = read_filter(STORE_REFUSES.code, "2026-01-01", None, "an id", [3, 4])
    assert chosen == LetterFilter(
        reason="store_refuses",
        since=datetime(2026, 1, 1, tzinfo=UTC),
        log_id="an id",
        sequences=frozenset({3, 4}),
    )
    aged = read_filter(None, None, "2h", None)
    assert aged.until is not None
    assert timedelta(hours=1, minutes=59) < datetime.now(UTC) - aged.until < timedelta(hours=2, minutes=5)


@pytest.mark.parametrize(
    ("reason", "since", "until", "names"),
    [("no_such", None, None, "write_refused"), (None, "soon", None, "soon"), (None, None, "999999999d", "range")],
)
def test_what_cannot_be_read_is_wrong_usage(
    reason: str | None, since: str | None, until: str | None, names: str
) -> None:
    with pytest.raises(typer.BadParameter, match=names):
        read_filter(reason, since, until, None)


def test_all_letters_are_meant_only_when_that_is_said() -> None:
    narrow = LetterFilter(reason="write_refused")
    require_choice(narrow, everything=False)
    require_choice(LetterFilter(), everything=True)
    for chosen, everything in ((LetterFilter(), False), (narrow, True)):
        with pytest.raises(typer.BadParameter):
            require_choice(chosen, everything=everything)
