"""Python's cyclic garbage collector, told about servers that make many short-lived objects.

By default it runs after every 700 new containers and, now and then, walks everything the process ever imported; that
took up to a third of the time of a busy worker. What Sluice makes for a request or a batch has no cycles worth
hurrying for. Libraries have: the database driver's note of a retried write and the error that it retried hold each
other, and with them every document of the batch. Invariant: the collector stays on, so a cycle is only found later,
and in a process that collects regularly within seconds.
"""

import asyncio
import gc

from sluice_core.allocator import give_back

COLLECT_SECONDS = 10.0
"""Each lost connection may leave megabytes; looking takes milliseconds, since what the server is made of is frozen."""
_YOUNG, _MIDDLE, _OLD = 20_000, 20, 50


def tune_collector() -> None:
    """Call once, before serving."""
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)


async def collect_regularly() -> None:
    """Run for ever beside a server whose libraries make cycles; by counting alone they would be found after hours.

    What a burst took and is free again goes back to the system then, too. What was imported and made until now is
    kept for good and not looked at.
    """
    gc.collect()
    gc.freeze()
    while True:
        await asyncio.sleep(COLLECT_SECONDS)
        gc.collect()
        give_back()
