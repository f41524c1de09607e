"""Answers leave in one piece, and nothing that was written is lost or overtaken."""

import asyncio
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from sluice_ingest.answering import Answering

_HEAD = b"HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n"


class _Transport:
    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.pieces.append(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


def _answering() -> tuple[Answering, _Transport]:
    transport = _Transport()
    return Answering(cast("asyncio.Transport", transport)), transport


def test_head_and_body_are_one_write() -> None:
    answer, transport = _answering()
    answer.write(_HEAD)
    assert transport.pieces == []
    answer.write(b"{}")
    assert transport.pieces == [_HEAD + b"{}"]


def test_an_invitation_to_send_the_body_does_not_wait() -> None:
    answer, transport = _answering()
    answer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert transport.pieces == [b"HTTP/1.1 100 Continue\r\n\r\n"]


def test_a_head_without_a_body_leaves_before_the_connection_closes() -> None:
    answer, transport = _answering()
    answer.write(_HEAD)
    assert not answer.is_closing()
    answer.close()
    assert transport.pieces == [_HEAD]
    assert answer.is_closing()


@given(st.lists(st.sampled_from([b"", b"x", _HEAD]), max_size=5))
def test_everything_leaves_in_its_order(body: list[bytes]) -> None:
    answer, transport = _answering()
    for piece in (_HEAD, *body):
        answer.write(piece)
    answer.close()
    assert b"".join(transport.pieces) == _HEAD + b"".join(body)
