"""The bucket: when a snapshot counts as complete, and what has to be written over an entry."""

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_core.edge.bucket import Entry, due_revision, read_snapshot
from sluice_core.errors import BrokerUnavailable
from sluice_core.names import SEAL_KEY
from sluice_core.tenant import encode_config
from unit.fakes import FakeBucket, config
from unit.virtual import run


def _read(bucket: FakeBucket) -> dict[str, bytes]:
    return run(read_snapshot(cast("Any", bucket))).entries


def test_a_snapshot_is_everything_but_the_seal() -> None:
    bucket = FakeBucket(config("a"), config("b"))
    assert _read(bucket).keys() == {"a", "b"}


def test_a_bucket_without_a_seal_says_nothing() -> None:
    with pytest.raises(BrokerUnavailable, match="not complete"):
        _read(FakeBucket(config("a"), sealed=False))


@pytest.mark.parametrize(("sealed", "complete"), [(0, True), (1, True), (2, True), (3, False)])
def test_a_bucket_with_fewer_entries_than_its_seal_says_nothing(sealed: int, complete: bool) -> None:
    """One was lost: nobody may take it for a tenant that there is not."""
    bucket = FakeBucket(config("a"), config("b"))
    bucket.put(SEAL_KEY, b'{"tenants":%d}' % sealed)
    if complete:
        assert len(_read(bucket)) == 2
    else:
        with pytest.raises(BrokerUnavailable, match="not complete"):
            _read(bucket)


@pytest.mark.parametrize("seal", [b"", b"{}", b"[]", b"\xff", b'{"tenants":"many"}'])
def test_a_seal_that_says_nothing_more_is_one(seal: bytes) -> None:
    bucket = FakeBucket(config("a"))
    bucket.put(SEAL_KEY, seal)
    assert len(_read(bucket)) == 1


_OURS = config(revision=5, suspension="Reject")


def _due(value: bytes) -> int | None:
    return due_revision(_OURS, Entry(1, value))


def test_what_is_there_as_it_should_be_is_left_alone() -> None:
    assert _due(encode_config(_OURS)) is None
    assert _due(encode_config(_OURS)[:-1] + b',"of_a_later_release":1}') is None


def test_what_is_missing_older_or_unreadable_is_written_as_it_is() -> None:
    assert due_revision(_OURS, None) == 5
    assert _due(encode_config(config(revision=4))) == 5
    assert _due(b"") == 5
    assert _due(b'{"revision":9}') == 5


@given(st.integers(5, 2**40), st.sampled_from(["Active", "Buffer"]))
def test_over_what_is_foreign_the_revision_is_raised(revision: int, suspension: Any) -> None:
    assert _due(encode_config(config(revision=revision, suspension=suspension))) == revision + 1
    assert _due(encode_config(config(uid="other", revision=revision))) == revision + 1
    assert _due(encode_config(config(state="gone", revision=revision))) == revision + 1
