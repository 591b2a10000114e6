"""Gives memory that holds nothing but zeros back to the system, until it is written to.

llama.cpp clears the KV cells and the rows of logits when a context is made, so that all of them take memory at once,
used or not. Pages of zeros that are given back read as zeros again: nothing changes but when they begin to take memory.
Linux only; see madvise(2), MADV_DONTNEED.
"""

import ctypes
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


def release_zeros() -> int:
    """Give back what is zero of this process's large mappings; returns bytes.

    Nothing is given back while other threads run: one might write between the look and the release.
    """
    if sys.platform != "linux" or threading.active_count() > 1:
        return 0
    libc = ctypes.CDLL(None)
    libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return sum(end - start for start, end in _zeros(libc) if not libc.madvise(start, end - start, _DONTNEED))


def _zeros(libc: ctypes.CDLL) -> Iterator[tuple[int, int]]:
    """Find runs of blocks that are zero."""
    libc.memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
    zeros = ctypes.create_string_buffer(BLOCK)
    for start, end in _large_mappings():
        begin = first = -(-start // BLOCK) * BLOCK
        for block in range(first, end - BLOCK + 1, BLOCK):
            if libc.memcmp(block, zeros, BLOCK):
                if begin < block:
                    yield begin, block
                begin = block + BLOCK
        last = end // BLOCK * BLOCK
        if begin < last:
            yield begin, last


def _large_mappings() -> list[tuple[int, int]]:
    maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    found = ((int(start, 16), int(end, 16)) for start, end in _ANONYMOUS.findall(maps))
    return [(start, end) for start, end in found if end - start >= SMALLEST]
