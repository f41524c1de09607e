"""Reading a delivery's place from its reply subject."""

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_core.edge.pull import Delivery, read_delivery
from unit.fakes import FakeMsg

_SHORT = "$JS.ACK.SLUICE_LANE_standard.workers.3.17.19.1700000000000000001.5"
_LONG = "$JS.ACK._.ACCHASH.SLUICE_LANE_standard.workers.3.17.19.1700000000000000001.5"


def _read(reply: str) -> Delivery | None:
    return read_delivery(cast("Any", FakeMsg(b"payload", reply=reply)))


@pytest.mark.parametrize("reply", [_SHORT, _LONG, f"{_LONG}.aBcD", _LONG.replace("_.ACC", "hub.ACC")])
def test_every_form_of_the_reply_subject_says_the_same(reply: str) -> None:
    assert _read(reply) == Delivery(b"payload", reply, "SLUICE_LANE_standard", 3, 17, 1700000000000000001, 5)


@pytest.mark.parametrize("reply", ["", "_INBOX.worker.abc", "$JS.ACK", "$JS.API.INFO.a.b.c.d.e.f", "a.b.c.d.e.f.g.h.i"])
def test_what_is_no_delivery_is_none(reply: str) -> None:
    assert _read(reply) is None


@given(st.integers(1, 2**31), st.integers(1, 2**63), st.integers(0, 2**63), st.integers(0, 2**63))
def test_numbers_of_any_size_are_read(delivered: int, sequence: int, time: int, pending: int) -> None:
    read = _read(f"$JS.ACK.S.workers.{delivered}.{sequence}.1.{time}.{pending}")
    assert read is not None
    assert read[2:] == ("S", delivered, sequence, time, pending)
