"""The collector's settings cost no memory: cycles go within seconds, however little is allocated."""

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from sluice_core.collector import COLLECT_SECONDS, collect_regularly, tune_collector
from unit.virtual import run


@pytest.fixture
def tuned() -> Iterator[None]:
    before = gc.get_threshold()
    tune_collector()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


class _Retry:
    """As the driver's: it keeps the error that it retried, whose traceback keeps it."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            raise ConnectionError
        except ConnectionError as error:
            self.error = error


def test_what_a_retry_leaves_behind_goes_within_seconds(tuned: None) -> None:
    async def main() -> None:
        retry = _Retry()
        retry.run()
        left = weakref.ref(retry)
        del retry
        assert left() is not None, "nothing else finds it so soon"
        collecting = asyncio.create_task(collect_regularly())
        await asyncio.sleep(COLLECT_SECONDS + 0.1)
        assert left() is None
        collecting.cancel()

    run(main())
