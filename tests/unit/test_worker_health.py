"""Whether MongoDB as a whole was there: a proof needs a look before and a look after."""

import asyncio

from sluice_worker.health import LOOK_SECONDS, Health
from unit.virtual import now, run


class _Mongo:
    well = True
    takes = 0.0

    async def writable(self) -> bool:
        answer = self.well
        await asyncio.sleep(self.takes)
        return answer


def test_it_was_well_since_the_first_look_that_said_so() -> None:
    async def main() -> None:
        health = Health(_Mongo().writable)
        assert not await health.well_since(now() - 1)
        assert await health.well_since(now())

    run(main())


def test_one_look_that_said_no_ends_it() -> None:
    async def main() -> None:
        mongo = _Mongo()
        health = Health(mongo.writable)
        watching = asyncio.create_task(health.watch())
        await asyncio.sleep(5)
        begun = now()
        assert await health.well_since(begun)
        mongo.well = False
        await asyncio.sleep(1.5 * LOOK_SECONDS)
        mongo.well = True
        assert not await health.well_since(begun)
        assert not await health.well_since(now() - 0.5)
        await asyncio.sleep(1)
        assert await health.well_since(now())
        watching.cancel()

    run(main())


def test_an_interrupted_call_ends_it_too() -> None:
    async def main() -> None:
        health = Health(_Mongo().writable)
        await health.look()
        await asyncio.sleep(3)
        health.was_away()
        assert not await health.well_since(now() - 1)

    run(main())


def test_a_slow_yes_from_before_an_outage_is_no_proof() -> None:
    async def main() -> None:
        mongo = _Mongo()
        health = Health(mongo.writable)
        begun = now()
        mongo.takes = 5
        slow = asyncio.create_task(health.look())
        await asyncio.sleep(1)
        mongo.takes, mongo.well = 0, False
        assert not await health.look()
        mongo.well = True
        assert await slow
        assert not await health.well_since(begun + 0.5)

    run(main())


def test_what_was_well_when_it_was_asked_counts_from_then() -> None:
    async def main() -> None:
        mongo = _Mongo()
        mongo.takes = 2
        health = Health(mongo.writable)
        begun = now()
        await asyncio.sleep(1)
        assert not await health.well_since(begun)
        assert await health.well_since(begun + 1)

    run(main())
