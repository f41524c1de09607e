"""The command line's pure pieces, and wrong usage."""

import logging
import math
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from cli.commands import sluice
from sluice_cli.app import app
from sluice_cli.client import SendError, ingest_url, retry_pause
from sluice_cli.demo_check import Report, TenantResult, read_labels
from sluice_cli.dlq_show import HIDDEN, redacted_records
from sluice_cli.histogram import quantile, read_buckets
from sluice_cli.lines import MAX_LINE_BYTES, Batch, Line, LineReader, holds_text, read_batches, record_id
from sluice_cli.moments import read_moment
from sluice_cli.output import counts_text, printable, seconds_text
from sluice_cli.progress import Floor
from sluice_cli.session import Session, first_error
from sluice_cli.up_view import curl_command, logs_command, pid_changes, warning_text
from sluice_core.edge.logs import StoredLog
from sluice_core.envelope import Record, Submission
from sluice_core.errors import SluiceError
from sluice_core.letter import Letter, StoredLetter, enclose, pick_out
from sluice_core.reasons import WRITE_REFUSED
from sluice_core.tenant import RedactionConfig
from sluice_core.version import Version

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["nonsense"],
        ["send"],
        ["send", "-"],
        ["send", "/nowhere.log", "--tenant", "t"],
        ["send", "-", "--tenant", "t", "--resume"],
        ["send", "-", "--tenant", "t", "--batch", "0"],
        ["logs", "t", "--since", "yesterday"],
        ["logs", "t", "--grep", "("],
        ["tenants", "apply", "-f", "/nowhere.yaml"],
        ["tenants", "apply"],
        ["keys", "add", "t", "Not A Name"],
        ["dlq", "show", "t", "x"],
        ["dlq", "list", "--since", "yesterday"],
        ["dlq", "list", "--reason", "no_such_reason"],
        ["dlq", "replay", "t"],
        ["dlq", "replay", "t", "--all", "--reason", "write_refused"],
        ["dlq", "replay", "t", "0"],
        ["dlq", "purge", "t"],
        ["doctor", "now"],
        ["up", "--auth", "maybe"],
        ["demo", "/nowhere"],
    ],
)
def test_wrong_usage_exits_2_and_prints_no_result(command: list[str]) -> None:
    # Within this process: the real one differs only in where it ends, and starting it so often would take long.
    done = CliRunner().invoke(app, command, obj=Session({}))
    assert done.exit_code == 2
    assert "Usage" in done.output


def test_wrong_usage_of_the_real_command_exits_2_too() -> None:
    done = sluice("send", "-")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "--tenant" in done.stderr


def batches_of(content: bytes, cuts: Iterable[int], most: int) -> tuple[list[Batch], LineReader]:
    async def chunks() -> AsyncIterator[bytes]:
        start = 0
        for cut in [*sorted(cuts), len(content)]:
            yield content[start : max(cut, start)]
            start = max(cut, start)

    async def collect() -> list[Batch]:
        return [batch async for batch in read_batches(chunks(), reader, most)]

    reader = LineReader()
    coroutine = collect()
    try:
        while True:
            coroutine.send(None)
    except StopIteration as end:
        found: list[Batch] = end.value
    return found, reader


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5), st.integers(1, 4))
def test_however_a_file_is_cut_into_chunks_its_lines_and_their_places_are_the_same(
    content: bytes, cuts: list[int], most: int
) -> None:
    batches, reader = batches_of(content, [min(cut, len(content)) for cut in cuts], most)
    lines = [line for batch in batches for line in batch.lines]
    assert all(len(batch.lines) <= most for batch in batches)
    raw = content.split(b"\n")
    assert len(lines) + reader.refused.total() + reader.blank == len(raw) - (raw[-1] == b"")
    for line in lines:
        encoded = line.text.encode()
        assert content[line.start : line.start + len(encoded)] == encoded
        assert line.start == 0 or content[line.start - 1 : line.start] == b"\n"
    # Ranges cover everything, in order, without a gap: what resuming relies on.
    ends = [0, *(batch.end for batch in batches)]
    assert ends == [*(batch.start for batch in batches), len(content)]


def test_an_endless_line_is_let_go_of_and_the_next_one_is_read() -> None:
    content = b"x" * (3 * MAX_LINE_BYTES) + b"\nnext\n"
    batches, reader = batches_of(content, range(0, len(content), 100_000), 10)
    assert [line for batch in batches for line in batch.lines] == [Line(3 * MAX_LINE_BYTES + 1, "next")]
    assert reader.refused == {"record_too_large": 1}
    assert batches[-1].end == len(content)


def test_an_id_depends_on_source_place_and_text() -> None:
    one = record_id("s", Line(7, "text"))
    assert one == record_id("s", Line(7, "text"))
    assert (
        len({one, record_id("t", Line(7, "text")), record_id("s", Line(8, "text")), record_id("s", Line(7, "x"))}) == 4
    )
    assert holds_text(one, "text")
    assert not holds_text(one, "x")


def test_the_floor_rises_only_past_what_is_settled_without_a_gap() -> None:
    floor = Floor(0)
    offsets = []
    for start, end in [(20, 30), (0, 10), (30, 40), (10, 20)]:
        floor.settle(Batch(start, end, []))
        offsets.append(floor.offset)
    assert offsets == [0, 10, 10, 40]


def test_pauses_grow_to_a_bound_and_never_undercut_what_the_server_asked() -> None:
    assert retry_pause(0, None, 0.0) == pytest.approx(0.05)
    assert retry_pause(1, None, 1.0) == pytest.approx(0.2)
    assert retry_pause(10_000, None, 1.0) == 5.0
    assert retry_pause(0, "3", 0.5) == 3.0
    assert retry_pause(0, "Wed, 21 Oct 2026 07:28:00 GMT", 1.0) == pytest.approx(0.1)


def test_urls_are_completed_and_what_is_none_is_refused() -> None:
    assert ingest_url("http://host:1/") == "http://host:1/ingest"
    assert ingest_url("https://host/v1/ingest") == "https://host/v1/ingest"
    for wrong in ("host:1", "ftp://host", "http://", "http://host:port"):
        with pytest.raises(SendError):
            ingest_url(wrong)


def test_quantiles_are_read_from_a_metrics_page() -> None:
    page = """\
# TYPE t histogram
t_bucket{le="1.0"} 0
t_bucket{le="2.0"} 50
t_bucket{le="4.0"} 100
t_bucket{le="+Inf"} 100
t_count 100
t_sum 250
"""
    buckets = read_buckets(page, "t")
    assert buckets == {1.0: 0, 2.0: 50, 4.0: 100, math.inf: 100}
    assert quantile(buckets, 0.5) == 2.0
    assert quantile(buckets, 0.75) == 3.0
    assert quantile(buckets, 0.25) == 1.5
    assert quantile(read_buckets("", "t"), 0.5) is None


def test_text_from_outside_cannot_steer_a_terminal() -> None:
    assert printable("a\tb\x1b[2J\r\n\x9b31m\u202eend") == "a\tb\\x1b[2J\\r\\n\\x9b31m\\u202eend"


def test_durations_and_times_are_read_as_since() -> None:
    assert read_moment("90s", NOW) == NOW - timedelta(seconds=90)
    assert read_moment("7d", NOW) == NOW - timedelta(days=7)
    assert read_moment("2026-01-01T00:00:00Z", NOW) == datetime(2026, 1, 1, tzinfo=UTC)
    assert read_moment("2026-01-01", NOW) == datetime(2026, 1, 1, tzinfo=UTC)
    with pytest.raises(ValueError, match="neither"):
        read_moment("10 minutes", NOW)


def test_counts_and_seconds_are_written_for_people() -> None:
    assert counts_text({"a": 1, "b": 2000}) == "b 2,000, a 1"
    assert counts_text({}) == "-"
    assert (seconds_text(0.0123), seconds_text(2.345), seconds_text(None)) == ("12 ms", "2.3 s", "-")


def test_the_curl_has_the_key_or_else_the_tenant() -> None:
    assert "Bearer k" in curl_command("http://h", "t", "k")
    assert "tenant_id" not in curl_command("http://h", "t", "k")
    assert '"tenant_id":"t"' in curl_command("http://h", "t", None)
    assert logs_command("t", Path(".sluice")) == "sluice logs t"
    assert logs_command("t", Path("a b")) == "sluice logs t --data 'a b'"


def test_changes_of_processes_are_told() -> None:
    assert pid_changes({"a": 1, "b": 2}, {"a": 3, "c": 4}) == [
        "a was started again, now with pid 3",
        "c was started, pid 4",
        "b was stopped",
    ]
    record = logging.makeLogRecord({"msg": "a part died", "name_of_part": "ingest", "exit_code": -9})
    assert warning_text(record) == "a part died (name ingest, exit_code -9)"


def test_of_several_errors_ours_is_told() -> None:
    ours = SluiceError("sentence")
    assert first_error(ExceptionGroup("", [OSError(), ExceptionGroup("", [ours])])) is ours
    assert first_error(ours) is ours


def shown(text: str, attributes: dict[str, Any], detectors: dict[str, str]) -> dict[str, Any]:
    submission = Submission("t", "u", "r", "s", 1, bytes(16), 0, [Record("id", text, None, attributes)])
    head, payload = enclose([pick_out(submission, [0], [Version(1, 2, 0)])], WRITE_REFUSED)
    [record] = (
        redacted_records(StoredLetter(1, "2026-01-01T00:00:00Z", head, payload), RedactionConfig(detectors), 10) or []
    )
    return record


def test_a_dead_letter_that_cannot_be_redacted_is_not_shown() -> None:
    text, attributes = "a@example.com", {"k": "192.0.2.1"}
    assert shown(text, attributes, {}) == {"log_id": "id", "text": "[REDACTED]", "attributes": {"k": "[REDACTED]"}}
    assert shown(text, attributes, {"email": "Keep"})["text"] == text
    assert shown(text, attributes, {"unknown": "Replace"})["text"] == HIDDEN
    assert shown(text, attributes, {"unknown": "Replace"})["attributes"] == HIDDEN
    unreadable = StoredLetter(1, "2026-01-01T00:00:00Z", Letter(tenant_id="t", reason="r"), b"garbage")
    assert redacted_records(unreadable, RedactionConfig(), 10) is None


def document(log_id: str, text: str, modified: str = "") -> StoredLog:
    return StoredLog(
        log_id=log_id,
        timestamp=NOW,
        received_at=NOW,
        processed_at=NOW,
        source="s",
        modified_data=modified or text,
        redactions={},
        correlation_id="c",
        original_text=text,
    )


def test_the_demo_fails_for_each_thing_that_can_be_wrong() -> None:
    first, second = (record_id("t.0", Line(place, "text")) for place in (0, 5))

    def failures(stored: list[StoredLog], **changes: int) -> str:
        result = TenantResult("t")
        result.accepted_ids, result.accepted = {first, second}, 2
        for name, value in changes.items():
            setattr(result, name, value)
        result.begin_check()
        for each in stored:
            result.check(each, {"t.0-000000000000": ["secret"]})
        report = Report([], [result])
        report.judge(
            {"tenant_t": {"t": 2}, **({"tenant_u": {"t": 1}} if "stray" in changes else {})}, {"t": "tenant_t"}
        )
        return "; ".join(report.failures)

    good = [document(first, "text"), document(second, "text")]
    assert failures(good) == ""
    assert "1 accepted line not stored" in failures(good[:1])
    assert "did not send" in failures([*good, document("foreign", "text")])
    assert "another text" in failures([good[0], document(second, "other")])
    assert "still readable" in failures([document(first, "text", "a secret"), good[1]])
    assert "1 dead letter" in failures(good, dead_letters=1)
    assert "1 parked letter" in failures(good, parked=1)
    assert "different ids" in failures(good, accepted=3)
    assert "in database tenant_u" in failures(good, stray=1)


def test_the_sample_is_what_its_labels_say() -> None:
    import sluice_cli

    sample = Path(sluice_cli.__file__).with_name("examples") / "sample.log"
    labels = read_labels(sample)
    assert labels is not None
    content = sample.read_bytes()
    for offset, values in labels:
        line = content[offset : content.index(b"\n", offset)].decode()
        assert all(value in line for found in values.values() for value in found)
    assert len(content.splitlines()) == 210
