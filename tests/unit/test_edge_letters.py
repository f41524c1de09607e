"""Listing letters: all of them, however the broker cuts its answers."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, cast

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from sluice_core.edge.letters import list_letters, walk_letters
from unit.fakes import FakeMsg


class CuttingBroker:
    """Holds letters, and ends a batch after `cut` of them, as a broker does that has sent enough bytes."""

    def __init__(self, sequences: list[int], cut: int) -> None:
        self.sequences = sequences
        self.cut = cut

    async def stream_of_replies(self, subject: str, payload: bytes, timeout: float) -> AsyncGenerator[FakeMsg, None]:
        request = msgspec.json.decode(payload)
        left = [sequence for sequence in self.sequences if sequence >= request["seq"]]
        sent = min(len(left), self.cut, request["batch"])
        for sequence in left[:sent]:
            headers = {"Nats-Sequence": str(sequence), "Nats-Time-Stamp": "2026-01-01T00:00:00Z"}
            yield FakeMsg(b"", headers=headers)
        if sent:
            yield FakeMsg(b"", headers={"Status": "204", "Nats-Num-Pending": str(len(left) - sent)})
        else:
            yield FakeMsg(b"", headers={"Status": "404"})


@given(st.sets(st.integers(1, 500), max_size=100), st.integers(1, 40), st.integers(1, 120), st.integers(0, 500))
def test_no_letter_is_left_out_when_the_broker_ends_a_batch_early(
    sequences: set[int], cut: int, limit: int, last: int
) -> None:
    broker = cast("Any", CuttingBroker(sorted(sequences), cut))

    async def walk() -> list[int]:
        return [stored.sequence async for stored in walk_letters(broker, "dlq.acme", last=last)]

    listed = asyncio.run(list_letters(broker, "dlq.acme", limit=limit))
    assert [stored.sequence for stored in listed] == sorted(sequences)[:limit]
    assert asyncio.run(walk()) == [sequence for sequence in sorted(sequences) if sequence <= last]
