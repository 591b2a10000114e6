import mmap
import subprocess
import sys
import threading

from antiphon.engine.zero_pages import BLOCK, SMALLEST, release_zeros

CODE = """
import mmap, re, sys
from pathlib import Path
from antiphon.engine.zero_pages import SMALLEST, release_zeros

def resident():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

size = 4 * SMALLEST
memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory[:] = bytes(size)
memory[SMALLEST] = memory[-1] = 7
before = resident()
released = release_zeros()
gone = before - resident()
print(min(released, gone) >= 3 * SMALLEST, memory.find(b"\\x07"), memory[SMALLEST], memory[-1])
"""


def test_what_is_zero_takes_no_memory_and_everything_reads_as_before() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True, timeout=60)  # noqa: S603
    assert f"True {SMALLEST} 7 7\n" == done.stdout


def test_nothing_is_given_back_while_another_thread_may_write() -> None:
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        assert 0 == release_zeros()
    finally:
        end.set()
        thread.join()


def test_a_block_is_a_whole_number_of_pages() -> None:
    assert 0 == BLOCK % mmap.PAGESIZE
