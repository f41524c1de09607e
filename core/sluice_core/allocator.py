"""The C library's allocator, told about processes that handle one large body after the other.

By default glibc gives back to the system what is free at the top of the heap, and maps pieces of 128 KiB and more
each for itself, so every batch of log lines pays for fresh pages again: a third of what a batch cost ingest. Invariant:
what is kept for the next one is bounded: at the top of the heap always, and below it in a process that trims regularly.
"""

import ctypes

from sluice_core.limits import MIB

KEPT_BYTES = 16 * MIB
"""At the top of the heap, when nothing is in use there."""
MAPPED_FROM_BYTES = 4 * MIB
"""Larger pieces go back to the system at once: they are rare."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt (malloc.h)."""
_LIBC = ctypes.CDLL(None)


def tune_allocator() -> None:
    """Call once, before serving. Another C library than glibc is left as it is."""
    mallopt = getattr(_LIBC, "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_MMAP_THRESHOLD, MAPPED_FROM_BYTES)


def trim_allocator() -> None:
    """Give back what lies free between what is in use: after each outage's backlog it would be more (measured)."""
    malloc_trim = getattr(_LIBC, "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(ctypes.c_size_t(KEPT_BYTES))
