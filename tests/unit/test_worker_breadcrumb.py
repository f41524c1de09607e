"""The note of what native code works on: it outlives the process, and one bad file never stops a worker."""

import os
import resource
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_core.version import Version
from sluice_worker.breadcrumb import CULPRIT_RECORDS, NOTE_RECORDS, SUSPECT_RECORDS, Breadcrumb, open_breadcrumb


def _open(directory: Path) -> Breadcrumb:
    crumb = open_breadcrumb(str(directory))
    assert crumb is not None
    return crumb


def _versions(number: int, start: int = 1) -> list[Version]:
    return [Version(2**63 + place, 2**40, place) for place in range(start, start + number)]


def _crash(directory: Path, named: list[Version]) -> None:
    """A process that ends while it prepares these records."""
    crumb = _open(directory)
    crumb.begin(named)
    crumb.close()


def test_a_finished_note_leaves_no_suspects(tmp_path: Path) -> None:
    crumb = _open(tmp_path)
    crumb.begin(_versions(3))
    crumb.end()
    crumb.close()
    assert not _open(tmp_path).watching


def test_who_is_named_in_an_unfinished_note_is_a_suspect(tmp_path: Path) -> None:
    named = _versions(3)
    _crash(tmp_path, named)
    crumb = _open(tmp_path)
    assert crumb.watching
    assert crumb.suspects == 3
    assert all(crumb.is_suspect(version) and not crumb.is_culprit(version) for version in named)
    assert not crumb.is_suspect(Version(1, 2, 3))


def test_of_an_earlier_longer_note_only_the_last_one_counts(tmp_path: Path) -> None:
    crumb = _open(tmp_path)
    crumb.begin(_versions(100))
    crumb.end()
    crumb.begin(_versions(2, start=500))
    crumb.close()
    assert _open(tmp_path).suspects == 2


def test_suspects_are_remembered_over_further_crashes(tmp_path: Path) -> None:
    _crash(tmp_path, _versions(3))
    _crash(tmp_path, _versions(2, start=50))
    assert _open(tmp_path).suspects == 5


def test_a_suspect_named_alone_is_a_culprit_from_then_on(tmp_path: Path) -> None:
    first, second, third = _versions(3)
    _crash(tmp_path, [first, second, third])
    _crash(tmp_path, [second])
    for _ in range(2):
        crumb = _open(tmp_path)
        assert crumb.is_culprit(second)
        assert not crumb.is_suspect(second)
        assert crumb.is_suspect(first)
        crumb.close()


def test_one_that_was_named_alone_but_never_before_is_only_a_suspect(tmp_path: Path) -> None:
    [only] = _versions(1)
    _crash(tmp_path, [only])
    crumb = _open(tmp_path)
    assert crumb.is_suspect(only)
    assert not crumb.is_culprit(only)


def test_a_suspect_that_is_named_with_others_stays_a_suspect(tmp_path: Path) -> None:
    first, second = _versions(2)
    _crash(tmp_path, [first])
    _crash(tmp_path, [first, second])
    crumb = _open(tmp_path)
    assert (crumb.suspects, crumb.is_culprit(first)) == (2, False)


def test_who_survives_alone_is_no_suspect_any_more(tmp_path: Path) -> None:
    first, second = _versions(2)
    _crash(tmp_path, [first, second])
    crumb = _open(tmp_path)
    crumb.acquit(first)
    crumb.close()
    crumb = _open(tmp_path)
    assert (crumb.is_suspect(first), crumb.is_suspect(second)) == (False, True)


def test_a_culprit_that_was_set_aside_gets_a_new_trial_when_it_is_replayed(tmp_path: Path) -> None:
    [only] = _versions(1)
    _crash(tmp_path, [only])
    _crash(tmp_path, [only])
    crumb = _open(tmp_path)
    crumb.forget(only)
    crumb.close()
    assert not _open(tmp_path).watching


def test_the_file_never_grows(tmp_path: Path) -> None:
    for round_ in range(SUSPECT_RECORDS // NOTE_RECORDS + 2):
        _crash(tmp_path, _versions(NOTE_RECORDS, start=1 + round_ * NOTE_RECORDS))
        sizes = {file.stat().st_size for file in tmp_path.iterdir()}
    assert len(sizes) == 1
    assert sizes.pop() < 1024 * 1024
    crumb = _open(tmp_path)
    assert crumb.suspects == SUSPECT_RECORDS
    assert crumb.is_suspect(_versions(1, start=(round_ + 1) * NOTE_RECORDS)[0]), "the latest are kept"
    assert CULPRIT_RECORDS < SUSPECT_RECORDS


# -- more workers than one -------------------------------------------------------------------------------------------
def test_two_workers_in_one_directory_have_a_file_each(tmp_path: Path) -> None:
    one, other = _open(tmp_path), _open(tmp_path)
    one.begin(_versions(2))
    other.begin(_versions(1, start=90))
    one.close()
    again = _open(tmp_path)
    assert again.suspects == 2, "the free one was taken over, not the one in use"
    other.close()
    assert _open(tmp_path).suspects == 1
    assert len(list(tmp_path.iterdir())) == 2


def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    _open(tmp_path / "state")
    assert (tmp_path / "state").stat().st_mode & 0o077 == 0
    assert (tmp_path / "state" / "crumb-0").stat().st_mode & 0o077 == 0


# -- files that are not as they should be ----------------------------------------------------------------------------
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"garbage",
        lambda content: content[:-1],
        lambda content: content + b"x",
        lambda content: bytes(len(content)),
        lambda content: os.urandom(len(content)),
        lambda content: content[:8] + b"\xff" * 8 + content[16:],
    ],
    ids=["empty", "short", "cut", "longer", "zeros", "noise", "count"],
)
def test_a_damaged_file_is_begun_anew(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    _crash(tmp_path, _versions(3))
    file = tmp_path / "crumb-0"
    file.write_bytes(damage(file.read_bytes()))
    crumb = _open(tmp_path)
    assert not crumb.watching
    crumb.begin(_versions(2))
    crumb.close()
    assert _open(tmp_path).suspects == 2


@given(st.integers(16, 5000), st.binary(min_size=1, max_size=100))
def test_damage_inside_names_wrong_suspects_at_worst(place: int, noise: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        _crash(Path(directory), _versions(3))
        file = Path(directory, "crumb-0")
        content = bytearray(file.read_bytes())
        content[place : place + len(noise)] = noise
        file.write_bytes(content)
        crumb = _open(Path(directory))
        assert crumb.suspects <= 3
        crumb.close()


def test_without_a_directory_there_is_none(caplog: pytest.LogCaptureFixture) -> None:
    assert open_breadcrumb("") is None
    assert len(caplog.records) == 1


def test_where_no_file_can_be_made_work_goes_on_without(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    assert open_breadcrumb(str(tmp_path / "file" / "state")) is None
    assert len(caplog.records) == 1


def test_a_full_disk_is_found_out_when_it_is_opened_not_when_it_is_used(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        assert open_breadcrumb(str(tmp_path)) is None
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
