"""Limits: complete, and consistent with what the broker takes."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from sluice_core.envelope import Record, Submission, encode_envelope, encode_submission
from sluice_core.limits import DEFAULT_LIMITS, ENVELOPE_BYTES, MAX_LOG_ID_BYTES, MAX_MESSAGE_BYTES, MIB, Limits
from sluice_core.tenant import LimitsSpec

_LARGEST_RECORD = MIB
"""The most that a manifest may say for maxRecordBytes."""


def test_the_largest_record_fits_into_one_message_of_the_broker() -> None:
    record = Record("i" * MAX_LOG_ID_BYTES, "x" * _LARGEST_RECORD, 1, {})
    submission = Submission("t" * 40, "u" * 16, "r" * 128, "ndjson_upload", 1, b"\0" * 16, 0, [record], "p" * 120)
    assert len(encode_envelope([encode_submission(submission)])) <= MAX_MESSAGE_BYTES


def test_a_manifest_cannot_ask_for_records_larger_than_that() -> None:
    assert msgspec.convert({"maxRecordBytes": _LARGEST_RECORD}, LimitsSpec).max_record_bytes == _LARGEST_RECORD
    try:
        msgspec.convert({"maxRecordBytes": _LARGEST_RECORD + 1}, LimitsSpec)
    except msgspec.ValidationError as error:
        assert "maxRecordBytes" in str(error)  # noqa: PT017 - the point is the field's name
    else:
        raise AssertionError("it was taken")


def test_an_envelope_of_usual_size_fits_as_well() -> None:
    assert ENVELOPE_BYTES < MAX_MESSAGE_BYTES
    assert DEFAULT_LIMITS.max_record_bytes <= DEFAULT_LIMITS.max_batch_bytes


_specs = st.builds(
    LimitsSpec,
    records_per_second=st.none() | st.integers(1, 1000),
    bytes_per_second=st.none() | st.integers(1024, 10_000),
    burst_seconds=st.none() | st.integers(1, 600),
    max_record_bytes=st.none() | st.integers(1, MIB),
    max_batch_bytes=st.none() | st.integers(1, 100 * MIB),
    max_backlog_bytes=st.none() | st.integers(MIB, 10 * MIB),
)


@given(_specs)
def test_what_a_manifest_says_holds_and_the_platform_says_the_rest(spec: LimitsSpec) -> None:
    defaults = Limits(1, 2, 3, 4, 5, 6)
    resolved = spec.resolve(defaults)
    for field in msgspec.structs.fields(Limits):
        written = getattr(spec, field.name)
        assert getattr(resolved, field.name) == (getattr(defaults, field.name) if written is None else written)


def test_a_manifest_can_set_every_limit() -> None:
    assert LimitsSpec.__struct_fields__ == Limits.__struct_fields__
