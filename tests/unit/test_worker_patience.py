"""Trying again until it works."""

import asyncio

import pytest

from sluice_core.errors import AccessDenied, BrokerFull, BrokerUnavailable, StoreUnavailable
from sluice_worker.patience import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, persist
from unit.virtual import now, run, settle


class _Attempts:
    """Fails with each error in turn, then gives its own count."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.times: list[float] = []

    async def __call__(self) -> int:
        self.times.append(now())
        if self.errors:
            raise self.errors.pop(0)
        return len(self.times)


def test_what_works_is_not_tried_again() -> None:
    async def main() -> None:
        assert await persist("database", _Attempts()) == 1
        assert now() == 0

    run(main())


@pytest.mark.parametrize("error", [BrokerUnavailable("x"), BrokerFull("x"), StoreUnavailable("x"), AccessDenied("x")])
def test_a_passing_fault_is_waited_out(error: Exception) -> None:
    async def main() -> None:
        assert await persist("database", _Attempts(error, error)) == 3

    run(main())


def test_pauses_double_up_to_a_longest_one() -> None:
    async def main() -> None:
        attempts = _Attempts(*[StoreUnavailable("x")] * 12)
        await persist("database", attempts)
        pauses = [later - earlier for earlier, later in zip(attempts.times, attempts.times[1:], strict=False)]
        expected = [min(FIRST_PAUSE_SECONDS * 2**number, LONGEST_PAUSE_SECONDS) for number in range(12)]
        assert pauses == pytest.approx(expected)

    run(main())


def test_a_fault_without_end_is_waited_out_for_hours() -> None:
    async def main() -> None:
        attempts = _Attempts(*[StoreUnavailable("x")] * 2000)
        assert await persist("database", attempts) == 2001
        assert now() > 9000

    run(main())


def test_an_error_that_is_final_or_unforeseen_is_raised_at_once() -> None:
    async def main() -> None:
        with pytest.raises(AccessDenied):
            await persist("database", _Attempts(AccessDenied("x")), final=(AccessDenied,))
        with pytest.raises(RuntimeError):
            await persist("database", _Attempts(RuntimeError("a bug")))
        assert now() == 0
        assert await persist("database", _Attempts(StoreUnavailable("x")), final=(AccessDenied,)) == 2

    run(main())


def test_it_ends_when_the_process_does() -> None:
    async def main() -> None:
        trying = asyncio.create_task(persist("database", _Attempts(*[StoreUnavailable("x")] * 100)))
        await settle()
        trying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await trying

    run(main())
