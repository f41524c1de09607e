"""The embedded stack's generated passwords."""

from pathlib import Path

import msgspec
import pytest

from sluice_local.credentials import FILE_NAME, Credentials
from sluice_local.errors import DataDirectoryDamagedError


def test_they_are_made_once_and_then_kept(tmp_path: Path) -> None:
    made = Credentials.load_or_create(tmp_path / "data")
    assert Credentials.load_or_create(tmp_path / "data") == made
    assert Credentials.load(tmp_path / "data") == made


def test_a_directory_without_a_stack_has_none(tmp_path: Path) -> None:
    assert Credentials.load(tmp_path / "data") is None


def test_only_the_owner_can_read_them(tmp_path: Path) -> None:
    Credentials.load_or_create(tmp_path / "data")
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "data" / FILE_NAME).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "data").iterdir()] == [FILE_NAME]


def test_every_secret_is_another_one() -> None:
    first, second = msgspec.structs.astuple(Credentials.generate()), msgspec.structs.astuple(Credentials.generate())
    assert len({*first, *second}) == len(first) + len(second)


def test_the_worker_secret_is_32_bytes_in_hexadecimal() -> None:
    assert len(bytes.fromhex(Credentials.generate().worker_master_secret)) == 32


def test_printing_them_shows_no_secret() -> None:
    credentials = Credentials.generate()
    shown = f"{credentials} {credentials!r}"
    assert not any(secret in shown for secret in msgspec.structs.astuple(credentials))


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b'{"nats_ingest": 1}'], ids=["empty", "cut off", "list", "no fields", "number"]
)
def test_a_damaged_file_is_reported_and_not_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(content)
    with pytest.raises(DataDirectoryDamagedError, match="is damaged") as caught:
        Credentials.load_or_create(tmp_path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == content


def test_an_empty_password_counts_as_damage(tmp_path: Path) -> None:
    made = Credentials.load_or_create(tmp_path)
    path = tmp_path / FILE_NAME
    path.write_bytes(path.read_bytes().replace(made.nats_worker.encode(), b""))
    with pytest.raises(DataDirectoryDamagedError):
        Credentials.load(tmp_path)


def test_a_path_that_is_a_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a directory")
    with pytest.raises(DataDirectoryDamagedError):
        Credentials.load_or_create(tmp_path / "data")
