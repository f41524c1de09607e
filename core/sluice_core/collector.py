"""Python's cyclic garbage collector, told about servers that make many short-lived objects.

By default it runs after every 700 new containers and, now and then, walks everything the process ever imported; that
took up to a third of the time of a busy worker. What Sluice makes for a request or a window has no cycles worth
hurrying for. Invariant: the collector stays on, so a cycle is only found later.
"""

import gc

_YOUNG, _MIDDLE, _OLD = 20_000, 20, 50


def tune_collector() -> None:
    """Call once, after importing and before serving."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)
