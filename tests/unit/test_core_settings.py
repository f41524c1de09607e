"""Settings from environment variables."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
import pytest

from sluice_core.errors import SettingsError
from sluice_core.settings import read_settings

_SECRET = "hunter2hunter2"


class _Settings(msgspec.Struct, frozen=True, kw_only=True):
    needed: str
    text: str = "default"
    count: Annotated[int, msgspec.Meta(ge=1, le=10)] = 5
    share: Annotated[float, msgspec.Meta(gt=0)] = 0.5
    flag: bool = False
    mode: Literal["keys", "none"] = "keys"
    digest: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{4}$")] = "0000"


def _read(**environ: str) -> _Settings:
    return read_settings(_Settings, {"SLUICE_NEEDED": "x", **environ})


def _refusal(**environ: str) -> str:
    with pytest.raises(SettingsError) as caught:
        _read(**environ)
    return str(caught.value)


def test_what_is_not_set_has_its_default() -> None:
    assert _read() == _Settings(needed="x")


def test_every_type_is_read_from_its_text() -> None:
    settings = _read(
        SLUICE_TEXT="5",
        SLUICE_COUNT="7",
        SLUICE_SHARE="2",
        SLUICE_FLAG="true",
        SLUICE_MODE="none",
        SLUICE_DIGEST="12ab",
    )
    assert settings == _Settings(needed="x", text="5", count=7, share=2.0, flag=True, mode="none", digest="12ab")


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(SettingsError, match="SLUICE_NEEDED is not set"):
        read_settings(_Settings, {})


def test_variables_of_others_are_left_alone() -> None:
    assert _read(NEEDED="y", COUNT="nonsense", SLUICE_UNKNOWN="z") == _Settings(needed="x")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SLUICE_COUNT", _SECRET),
        ("SLUICE_COUNT", ""),
        ("SLUICE_COUNT", "0"),
        ("SLUICE_COUNT", "11"),
        ("SLUICE_COUNT", "1.5"),
        ("SLUICE_SHARE", _SECRET),
        ("SLUICE_SHARE", "0"),
        ("SLUICE_SHARE", "nan"),
        ("SLUICE_FLAG", _SECRET),
        ("SLUICE_MODE", _SECRET),
        ("SLUICE_DIGEST", _SECRET),
    ],
)
def test_a_wrong_value_is_refused_by_the_variables_name_without_the_value(variable: str, value: str) -> None:
    message = _refusal(**{variable: value})
    assert message.startswith(f"{variable} has a wrong value")
    assert _SECRET not in message


def test_a_secret_may_stand_in_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("from the file\n")
    assert _read(SLUICE_TEXT_FILE=str(secret)).text == "from the file"


def test_the_file_wins_over_the_variable(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("from the file")
    assert _read(SLUICE_TEXT_FILE=str(secret), SLUICE_TEXT="direct").text == "from the file"


def test_a_file_may_give_what_is_required_and_numbers_too(tmp_path: Path) -> None:
    number = tmp_path / "number"
    number.write_text(" 7 \n")
    settings = read_settings(_Settings, {"SLUICE_NEEDED_FILE": str(number), "SLUICE_COUNT_FILE": str(number)})
    assert (settings.needed, settings.count) == ("7", 7)


def test_a_file_that_cannot_be_read_is_an_error_that_names_the_variable(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        assert _refusal(SLUICE_TEXT_FILE=str(path)).startswith("SLUICE_TEXT_FILE cannot be read")


def test_a_file_that_is_no_text_is_an_error_that_names_the_variable(tmp_path: Path) -> None:
    path = tmp_path / "binary"
    path.write_bytes(b"\xff\xfe\x00")
    assert _refusal(SLUICE_TEXT_FILE=str(path)).startswith("SLUICE_TEXT_FILE cannot be read")
