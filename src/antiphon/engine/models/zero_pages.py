"""Gives memory that holds nothing but zeros back to the system, until it is written to.

llama.cpp clears the KV cells and the rows of logits when a context is made, so that all of them take memory at once,
used or not. Pages of zeros that are given back read as zeros again: nothing changes but when they begin to take memory.
Linux only; see madvise(2), MADV_DONTNEED.
"""

import ctypes
import gc
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

BLOCK: Final = 64 * 1024
"""Bytes that are looked at together: a multiple of every page size in use."""
SMALLEST: Final = 8 << 20
"""Bytes of a mapping that is looked at."""
_DONTNEED: Final = 4
_ANONYMOUS: Final = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) rw-p \S+ 00:00 0\s*$", re.MULTILINE)


Ranges = list[tuple[int, int]]
"""Addresses, from and up to."""


def mappings() -> Ranges:
    """Give this process's anonymous memory as it is now; on other systems than Linux nothing."""
    if sys.platform != "linux":
        return []
    maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    return [(int(start, 16), int(end, 16)) for start, end in _ANONYMOUS.findall(maps)]


def release_zeros(before: Ranges) -> int:
    """Give back what is zero of the large mappings that were not there ``before``; returns bytes.

    Nothing is given back while other threads run: one might write between the look and the release. Python's own
    memory, which this very function writes to, was there before.
    """
    if sys.platform != "linux" or threading.active_count() > 1:
        return 0
    libc = ctypes.CDLL(None)
    libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    libc.memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
    collects = gc.isenabled()
    gc.disable()  # it might unmap what is looked at
    try:
        zeros = (zero for new in _without(mappings(), before) for zero in _zeros(libc, *new))
        return sum(end - start for start, end in zeros if not libc.madvise(start, end - start, _DONTNEED))
    finally:
        if collects:
            gc.enable()


def _zeros(libc: ctypes.CDLL, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Find runs of blocks that are zero."""
    zeros = ctypes.create_string_buffer(BLOCK)
    begin = first = -(-start // BLOCK) * BLOCK
    for block in range(first, end - BLOCK + 1, BLOCK):
        if libc.memcmp(block, zeros, BLOCK):
            if begin < block:
                yield begin, block
            begin = block + BLOCK
    last = end // BLOCK * BLOCK
    if begin < last:
        yield begin, last


def _without(ranges: Ranges, others: Ranges) -> Ranges:
    """Cut ``others``, ascending, out of ``ranges``; what is left that is large."""
    left = []
    for start, end in ranges:
        rest = start
        for other, other_end in others:
            if other < end and other_end > rest:
                left.append((rest, other))
                rest = max(rest, other_end)
        left.append((rest, end))
    return [(start, end) for start, end in left if end - start >= SMALLEST]
