import mmap
import subprocess
import sys
import threading

import pytest

from antiphon.engine.models.zero_pages import BLOCK, SMALLEST, _without, mappings, release_zeros

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process its mappings like this")

CODE = """
import mmap, re, sys
from pathlib import Path
from antiphon.engine.models.zero_pages import SMALLEST, mappings, release_zeros

def resident():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

size = 4 * SMALLEST
earlier = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
known = mappings()
memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory[:] = bytes(size)
memory[SMALLEST] = memory[-1] = 7
before = resident()
released = release_zeros(known)
gone = before - resident()
print(3 * SMALLEST <= min(released, gone) <= released <= size, memory.find(b"\\x07"), memory[SMALLEST], memory[-1])
"""


@LINUX
def test_what_is_zero_takes_no_memory_and_everything_reads_as_before() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True, timeout=60)  # noqa: S603
    assert f"True {SMALLEST} 7 7\n" == done.stdout


@LINUX
def test_nothing_is_given_back_while_another_thread_may_write() -> None:
    known, end = mappings(), threading.Event()
    memory = mmap.mmap(-1, 2 * SMALLEST, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        assert 0 == release_zeros(known)
    finally:
        end.set()
        thread.join()
        memory.close()


def test_only_what_is_new_and_large_is_looked_at() -> None:
    before = [(0, 10), (3 * SMALLEST, 4 * SMALLEST), (9 * SMALLEST, 9 * SMALLEST + 1)]
    now = [(0, 20), (SMALLEST, 5 * SMALLEST), (9 * SMALLEST, 10 * SMALLEST)]
    assert [(SMALLEST, 3 * SMALLEST), (4 * SMALLEST, 5 * SMALLEST)] == _without(now, before)


def test_a_block_is_a_whole_number_of_pages() -> None:
    assert 0 == BLOCK % mmap.PAGESIZE
