"""The collector's settings cost no memory: cycles go within seconds, however little is allocated."""

import asyncio
import gc
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluice_core.allocator import give_back
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
        collecting = asyncio.create_task(collect_regularly())
        await asyncio.sleep(0)
        retry = _Retry()
        retry.run()
        left = weakref.ref(retry)
        del retry
        assert left() is not None, "nothing else finds it so soon"
        await asyncio.sleep(COLLECT_SECONDS + 0.1)
        assert left() is None
        collecting.cancel()

    run(main())


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's call")
def test_what_is_free_between_what_is_used_goes_back_to_the_system() -> None:
    def resident_pages() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1])

    pieces = [bytes(2_000) for _ in range(20_000)]
    kept = pieces[::2_000]
    before = resident_pages()
    del pieces
    assert give_back()
    assert before - resident_pages() > 4_000, "most of 40 MB"
    assert len(kept) == 10
