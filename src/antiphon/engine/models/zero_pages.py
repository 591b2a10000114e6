"""Releases memory pages of zeros to the system until they are written to.

llama.cpp clears the KV cells and the rows of logits of a new context, so all of them take memory at once, used or not.
Released pages still read as zeros, and take memory again from the first write on. Linux only; see madvise(2),
MADV_DONTNEED.
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
"""Bytes that are compared at once: a multiple of every page size in use."""
MIN_MAPPING: Final = 8 << 20
"""Bytes of a mapping, at least, whose pages are released."""
_DONTNEED: Final = 4
_ANONYMOUS: Final = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) rw-p \S+ 00:00 0\s*$", re.MULTILINE)


Ranges = list[tuple[int, int]]
"""Start and end addresses."""


def anonymous_mappings() -> Ranges:
    """Return the current anonymous mappings of this process; none on other systems than Linux."""
    if sys.platform != "linux":
        return []
    maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    return [(int(start, 16), int(end, 16)) for start, end in _ANONYMOUS.findall(maps)]


def release_zero_pages(before: Ranges) -> int:
    """Release the zero pages of the large mappings that are not in ``before``; return the number of bytes.

    It releases nothing while other threads run: one might write between the comparison and the release. Python's own
    memory, which this function writes to, is in ``before``.
    """
    if sys.platform != "linux" or threading.active_count() > 1:
        return 0
    libc = ctypes.CDLL(None)
    libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    libc.memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
    collects = gc.isenabled()
    gc.disable()  # it might unmap a mapping that is being compared
    try:
        zeros = (zero for new in _without(anonymous_mappings(), before) for zero in _zeros(libc, *new))
        return sum(end - start for start, end in zeros if not libc.madvise(start, end - start, _DONTNEED))
    finally:
        if collects:
            gc.enable()


def _zeros(libc: ctypes.CDLL, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the runs of zero blocks."""
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
    """Return the large parts of ``ranges`` outside ``others``, which ascend."""
    left = []
    for start, end in ranges:
        rest = start
        for other, other_end in others:
            if other < end and other_end > rest:
                left.append((rest, other))
                rest = max(rest, other_end)
        left.append((rest, end))
    return [(start, end) for start, end in left if end - start >= MIN_MAPPING]
