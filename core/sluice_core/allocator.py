"""The C library's allocator, told about processes that handle one large body after the other.

By default glibc gives back to the system what is free at the top of the heap, and maps pieces of 128 KiB and more
each for itself, so every batch of log lines pays for fresh pages again: a third of what a batch cost ingest. And each
thread has a heap of its own, of which the end is never given back. Invariant: what is kept for the next one is bounded.
"""

import ctypes

from sluice_core.limits import MIB

KEPT_BYTES = 16 * MIB
"""At the top of the heap, when nothing is in use there."""
MAPPED_FROM_BYTES = 4 * MIB
"""Larger pieces go back to the system at once: they are rare."""
HEAPS = 1
"""The interpreter's lock lets one thread at a time allocate anyway."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""Parameters of mallopt (malloc.h)."""


def tune_allocator() -> None:
    """Call once, before serving. Another C library than glibc is left as it is."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_MMAP_THRESHOLD, MAPPED_FROM_BYTES)
        mallopt(_ARENA_MAX, HEAPS)


def give_back() -> bool:
    """Give pages in which nothing is used back to the system; False where the allocator has no such call.

    By itself it gives back only what is free at a heap's end. After minutes of bursts a worker that used 14 MB held 100
    MB more, all of it free. For that much it takes about 20 ms.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:
        return False
    trim(0)
    return True
