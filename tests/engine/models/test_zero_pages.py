import mmap
import subprocess
import sys
import threading

import pytest

from antiphon.engine.models.zero_pages import BLOCK, MIN_MAPPING, _without, anonymous_mappings, release_zero_pages

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc/self/maps")

CODE = """
import mmap, re, sys
from pathlib import Path
from antiphon.engine.models.zero_pages import MIN_MAPPING, anonymous_mappings, release_zero_pages

def resident():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

size = 4 * MIN_MAPPING
earlier = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
known = anonymous_mappings()
memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory[:] = bytes(size)
memory[MIN_MAPPING] = memory[-1] = 7
before = resident()
released = release_zero_pages(known)
gone = before - resident()
print(3 * MIN_MAPPING <= min(released, gone) <= released <= size)
print(memory.find(b"\\x07"), memory[MIN_MAPPING], memory[-1])
"""


@LINUX
def test_released_pages_take_no_memory_and_all_bytes_read_as_before() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True, timeout=60)  # noqa: S603
    assert f"True\n{MIN_MAPPING} 7 7\n" == done.stdout


@LINUX
def test_nothing_is_released_while_another_thread_may_write() -> None:
    known, end = anonymous_mappings(), threading.Event()
    memory = mmap.mmap(-1, 2 * MIN_MAPPING, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        assert 0 == release_zero_pages(known)
    finally:
        end.set()
        thread.join()
        memory.close()


def test_only_new_and_large_mappings_are_compared() -> None:
    before = [(0, 10), (3 * MIN_MAPPING, 4 * MIN_MAPPING), (9 * MIN_MAPPING, 9 * MIN_MAPPING + 1)]
    now = [(0, 20), (MIN_MAPPING, 5 * MIN_MAPPING), (9 * MIN_MAPPING, 10 * MIN_MAPPING)]
    assert [(MIN_MAPPING, 3 * MIN_MAPPING), (4 * MIN_MAPPING, 5 * MIN_MAPPING)] == _without(now, before)


def test_block_is_a_whole_number_of_pages() -> None:
    assert 0 == BLOCK % mmap.PAGESIZE
