"""The worker's loop between stand-ins, in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

from sluice_core.envelope import Record, Submission, decode_envelope
from sluice_core.errors import BrokerFull, BrokerUnavailable
from sluice_core.limits import MIB
from sluice_core.names import DLQ_STREAM
from sluice_worker.handle import Message
from sluice_worker.letter_writer import LetterWriter
from sluice_worker.loop import Loop
from sluice_worker.preparation import Preparation
from sluice_worker.preparers import Preparers
from unit.fakes import FakeLane, FakeStore, FakeView, config, delivery, envelope, submission
from unit.virtual import run, settle

PREPARERS = Preparers(b"\0" * 32)
"""Shared, since compiling a policy takes longer than any of these tests."""


class FakeLetters:
    """The broker as the writer of letters sees it."""

    def __init__(self) -> None:
        self.letters: list[tuple[str, Mapping[str, str], bytes]] = []
        self.down = False
        self.full: set[str] = set()
        """Subjects that take no more."""

    async def publish(
        self, subject: str, payload: bytes, *, stream: str, timeout: float, headers: dict[str, str]
    ) -> int:
        assert stream == DLQ_STREAM
        await asyncio.sleep(0)
        if self.down:
            raise BrokerUnavailable("not connected to the broker")
        if subject in self.full:
            raise BrokerFull("the stream is at its limit")
        self.letters.append((subject, headers, payload))
        return len(self.letters)

    def reasons(self) -> list[tuple[str, str]]:
        return [(subject, headers["Sluice-reason"]) for subject, headers, _ in self.letters]

    def records(self, subject: str) -> list[str]:
        """The ids in all letters under a subject."""
        parts = [
            part for at, _, payload in self.letters if at == subject for part in decode_envelope(payload).submissions
        ]
        return [part.log_id(position) for part in parts for position in range(len(part.records))]


class Worker:
    """A loop, and everything around it."""

    def __init__(self, *tenants: Any, **settings: Any) -> None:
        self.lane = FakeLane()
        self.store = FakeStore()
        self.view = FakeView(*(tenants or (config(), config("beta"))))
        self.letters = FakeLetters()
        self.finished: list[Message] = []
        defaults = {
            "in_flight_bytes": 64 * MIB,
            "parallel_writes": 16,
            "seconds_per_char": 0.0,
            "breadcrumb": None,
        }
        settings = {**defaults, **settings}
        self.loop = Loop(
            self.lane,
            self.view,
            self.store,
            Preparation(PREPARERS, settings.pop("breadcrumb")),
            LetterWriter(cast("Any", self.letters)),
            on_finished=self.finished.append,
            **settings,
        )
        self.running: asyncio.Task[None] | None = None

    def send(self, sequence: int, *parts: Submission) -> None:
        self.lane.put(delivery(envelope(*parts), sequence))

    def ids(self, tenant_id: str = "acme") -> set[str]:
        return set(self.store.of(tenant_id))

    async def stop(self, timeout: float = 5.0) -> None:
        assert self.running is not None
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)
        await self.loop.stop(timeout)


def work(scenario: Callable[[Worker], Awaitable[None]], *tenants: Any, **settings: Any) -> None:
    """Run a scenario beside a working loop."""

    async def main() -> None:
        worker = Worker(*tenants, **settings)
        worker.running = asyncio.create_task(worker.loop.run())
        await settle()
        try:
            await scenario(worker)
            assert not worker.running.done() or worker.running.cancelled()
        finally:
            await worker.stop()

    run(main())


def part(*ids: str, tenant_id: str = "acme", uid: str = "u1", text: str = "hello") -> Submission:
    return submission(*(Record(log_id, text) for log_id in ids), tenant_id=tenant_id, uid=uid)
