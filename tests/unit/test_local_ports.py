"""Which ports a data directory's servers get."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluice_local.errors import DataDirectoryDamagedError, LocalStackError, PortTakenError
from sluice_local.ports import FILE_NAME, HOST, Ports, free_port, is_free


@pytest.fixture
def taken() -> Iterator[int]:
    with occupy(free_port()) as listener:
        yield listener.getsockname()[1]


def occupy(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((HOST, port))
    listener.listen()
    return listener


def test_a_free_port_can_be_listened_on() -> None:
    with occupy(free_port()) as listener:
        assert not is_free(listener.getsockname()[1])


def test_a_free_port_is_never_one_the_system_hands_to_clients() -> None:
    assert all(free_port() < 32_768 for _ in range(50))


def test_a_port_somebody_listens_on_is_not_free(taken: int) -> None:
    assert not is_free(taken)


def test_ports_stay_the_same_in_one_data_directory(tmp_path: Path) -> None:
    chosen = Ports.choose(tmp_path)
    assert Ports.choose(tmp_path) == chosen
    assert Ports.load(tmp_path) == chosen
    assert len({chosen.nats, chosen.nats_monitor, chosen.mongod}) == 3


def test_addresses_are_on_loopback(tmp_path: Path) -> None:
    chosen = Ports.choose(tmp_path)
    assert chosen.nats_url == f"nats://127.0.0.1:{chosen.nats}"
    assert chosen.mongodb_host == f"127.0.0.1:{chosen.mongod}"


def test_a_given_port_is_used_and_remembered(tmp_path: Path) -> None:
    nats, mongod = free_port(), free_port()
    chosen = Ports.choose(tmp_path, nats=nats, mongod=mongod)
    assert (chosen.nats, chosen.mongod) == (nats, mongod)
    assert Ports.choose(tmp_path) == chosen


def test_a_given_port_in_use_is_refused(tmp_path: Path, taken: int) -> None:
    with pytest.raises(PortTakenError, match=str(taken)):
        Ports.choose(tmp_path, nats=taken)


def test_the_broker_moves_when_its_old_port_is_taken(tmp_path: Path) -> None:
    chosen = Ports.choose(tmp_path)
    with occupy(chosen.nats):
        moved = Ports.choose(tmp_path)
    assert moved.nats != chosen.nats
    assert moved.mongod == chosen.mongod


def test_the_database_cannot_move_so_a_taken_port_is_an_error(tmp_path: Path) -> None:
    chosen = Ports.choose(tmp_path)
    with occupy(chosen.mongod), pytest.raises(PortTakenError, match=str(chosen.mongod)):
        Ports.choose(tmp_path)


def test_the_database_cannot_be_asked_to_move(tmp_path: Path) -> None:
    chosen = Ports.choose(tmp_path)
    with pytest.raises(LocalStackError, match=f"was made on port {chosen.mongod}"):
        Ports.choose(tmp_path, mongod=free_port())


def test_a_damaged_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text('{"nats": "x"}')
    with pytest.raises(DataDirectoryDamagedError, match=FILE_NAME):
        Ports.choose(tmp_path)
