"""Memory of processes, as Linux tells it."""

import contextlib
import re
from pathlib import Path
from typing import Final

MB: Final = 1_000_000
_MAPPING: Final = re.compile(r"[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \d+\s*(.*)")
_PRIVATE: Final = re.compile(r"Private_(?:Clean|Dirty):\s+(\d+) kB")
KB: Final = 1024


def private_bytes(smaps: str, apart: str = "") -> int:
    """Add up the private pages of ``/proc/PID/smaps``, anonymous or of files, the mappings of one file apart."""
    total, counted = 0, True
    for line in smaps.splitlines():
        if mapping := _MAPPING.fullmatch(line):
            counted = not apart or mapping[1] != apart
        elif counted and (private := _PRIVATE.match(line)):
            total += int(private[1]) * KB
    return total


def private_memory(pids: list[int], apart: str = "") -> float:
    """Give the megabytes of private pages of some processes; those that have ended count nothing."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += private_bytes(Path(f"/proc/{pid}/smaps").read_text(), apart and str(Path(apart).resolve()))
    return total / MB


def anonymous_memory(pid: int) -> float:
    """Give the megabytes of a process's anonymous pages, all its mappings together."""
    found = re.search(r"^Anonymous:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    assert found is not None, "smaps_rollup tells Anonymous"
    return int(found[1]) * KB / MB


def cpu_seconds(pid: int, ticks: int) -> float:
    """Give the processor time that a process has used, its threads included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / ticks
