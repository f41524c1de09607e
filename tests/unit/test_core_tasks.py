"""Ending tasks, also those that miss a cancellation."""

import asyncio

from sluice_core.tasks import AGAIN_SECONDS, end
from unit.virtual import now, run


def test_a_task_that_is_ended_has_ended() -> None:
    async def main() -> None:
        task = asyncio.create_task(asyncio.sleep(1000))
        await asyncio.sleep(0)
        await end(task)
        assert task.cancelled()
        assert now() == 0

    run(main())


def test_a_task_that_misses_cancellations_ends_all_the_same() -> None:
    async def deaf() -> None:
        for _ in range(3):
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                continue
        await asyncio.sleep(1000)

    async def main() -> None:
        task = asyncio.create_task(deaf())
        await asyncio.sleep(0)
        await end(task)
        assert task.cancelled()
        assert now() == 3 * AGAIN_SECONDS

    run(main())


def test_one_that_failed_and_one_that_is_done_are_no_trouble() -> None:
    async def fail() -> None:
        raise ValueError

    async def main() -> None:
        failed, done = asyncio.create_task(fail()), asyncio.create_task(asyncio.sleep(0))
        await asyncio.sleep(1)
        await end(failed, done)
        assert isinstance(failed.exception(), ValueError)

    run(main())
