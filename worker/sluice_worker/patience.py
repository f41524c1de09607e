"""Trying again until it works: back-off that ends only when the process does.

Invariant: what is tried is repeatable, so one success is enough and no failure is final.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from sluice_core.errors import BrokerError, StoreUnavailable
from sluice_worker.metrics import RETRIES

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0

Result = TypeVar("Result")


def pauses() -> Iterator[float]:
    """Seconds to wait before each further attempt, without end."""
    pause = FIRST_PAUSE_SECONDS
    while True:
        yield pause
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


async def persist(
    target: str, attempt: Callable[[], Awaitable[Result]], *, final: tuple[type[Exception], ...] = ()
) -> Result:
    """The result of `attempt`, called again while the broker or the database does not take it.

    `target` names what is tried in metrics and logs; errors of a class in `final` are raised at once.
    """
    for pause in pauses():
        try:
            return await attempt()
        except (BrokerError, StoreUnavailable) as error:
            if isinstance(error, final):
                raise
            RETRIES.labels(target).inc()
            log.warning("trying again", extra={"target": target, "error": str(error), "pause_seconds": pause})
        await asyncio.sleep(pause)
    raise AssertionError("pauses end")  # pragma: no cover - they do not
