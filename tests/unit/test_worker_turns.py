"""What waits for a tenant's turn goes together, and everybody learns of the end of it."""

import asyncio
from collections.abc import Sequence

import pytest

from sluice_core.envelope import Record
from sluice_worker.handle import Item, Message, items
from sluice_worker.turns import MOST_RECORDS, Begin, Turns
from unit.fakes import delivery, envelope, submission
from unit.virtual import run, settle


def _items(sequence: int, count: int = 1) -> list[Item]:
    message = Message(delivery(envelope(submission(*[Record(None, "a")] * count)), sequence))
    return [item for _, part in items(message) for item in part]


class _Desk:
    """Stores one turn at a time, each when it is told to."""

    def __init__(self) -> None:
        self.failed: list[list[Item]] = []
        self.turns: Turns[str] = Turns(self.failed.append)
        self.places = asyncio.Semaphore(1)
        self.open = asyncio.Event()
        self.stored: list[Sequence[Item]] = []
        self.broken = False

    async def store(self, begin: Begin) -> None:
        async with self.places:
            batch = begin()
            await self.open.wait()
            if self.broken:
                raise RuntimeError("a bug")
            self.stored.append(batch)

    def take(self, key: str, batch: list[Item]) -> asyncio.Task[None]:
        return asyncio.create_task(self.turns.take(key, batch, self.store))


def test_alone_a_batch_is_stored_at_once() -> None:
    async def main() -> None:
        desk = _Desk()
        desk.open.set()
        batch = _items(1)
        await desk.turns.take("acme", batch, desk.store)
        assert desk.stored == [batch]

    run(main())


def test_what_comes_while_a_turn_waits_joins_it_and_what_has_begun_is_left_alone() -> None:
    async def main() -> None:
        desk = _Desk()
        first, second, third = (_items(number) for number in (1, 2, 3))
        tasks = [desk.take("acme", first)]
        await settle()  # it has its place
        tasks += [desk.take("acme", second), desk.take("acme", third)]
        await settle()
        assert not any(task.done() for task in tasks)
        desk.open.set()
        await asyncio.gather(*tasks)
        assert desk.stored == [first, [*second, *third]]

    run(main())


def test_tenants_do_not_join_each_other() -> None:
    async def main() -> None:
        desk = _Desk()
        tasks = [desk.take(key, _items(number)) for number, key in enumerate(("acme", "beta", "gamma"))]
        desk.open.set()
        await asyncio.gather(*tasks)
        assert [len(batch) for batch in desk.stored] == [1, 1, 1]

    run(main())


def test_a_full_turn_takes_no_more() -> None:
    async def main() -> None:
        desk = _Desk()
        sizes = (1, MOST_RECORDS - 1, 1, 1)
        tasks = []
        for number, size in enumerate(sizes, 1):
            tasks.append(desk.take("acme", _items(number, size)))
            await settle()
        tasks.append(desk.take("acme", _items(9, MOST_RECORDS)))
        await settle()
        desk.open.set()
        await asyncio.gather(*tasks)
        assert [len(batch) for batch in desk.stored] == [1, MOST_RECORDS, 1, MOST_RECORDS]

    run(main())


def test_of_a_turn_that_fails_everybodys_records_are_given_up_once() -> None:
    async def main() -> None:
        desk = _Desk()
        desk.broken = True
        first, second, third = (_items(number) for number in (1, 2, 3))
        tasks = [desk.take("acme", first)]
        await settle()
        tasks += [desk.take("acme", second), desk.take("acme", third)]
        await settle()
        desk.open.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(result, RuntimeError) for result in results] == [True, True, False]
        assert desk.failed == [first, [*second, *third]]

    run(main())


def test_after_a_failure_turns_go_on() -> None:
    async def main() -> None:
        desk = _Desk()
        desk.open.set()
        desk.broken = True
        with pytest.raises(RuntimeError):
            await desk.turns.take("acme", _items(1), desk.store)
        desk.broken = False
        batch = _items(2)
        await desk.turns.take("acme", batch, desk.store)
        assert desk.stored == [batch]

    run(main())


def test_whoever_waits_for_a_turn_that_is_cancelled_does_not_wait_for_ever() -> None:
    async def main() -> None:
        desk = _Desk()
        tasks = [desk.take("acme", _items(1))]
        await settle()
        tasks += [desk.take("acme", _items(2)), desk.take("acme", _items(3))]
        await settle()
        tasks[1].cancel()
        await asyncio.wait(tasks[1:], timeout=1)
        assert tasks[1].cancelled()
        assert tasks[2].done()
        desk.open.set()
        await tasks[0]

    run(main())
