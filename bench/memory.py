"""Memory and processor time of processes, from Linux's /proc."""

import contextlib
import re
from pathlib import Path
from typing import Final

MB: Final = 1_000_000
_MAPPING: Final = re.compile(r"[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \d+\s*(.*)")
_PRIVATE: Final = re.compile(r"Private_(?:Clean|Dirty):\s+(\d+) kB")
KB: Final = 1024


def private_bytes(smaps: str, apart: str = "") -> int:
    """Return the bytes of private pages in the text of ``/proc/PID/smaps``, without mappings of the file ``apart``."""
    total, counted = 0, True
    for line in smaps.splitlines():
        if mapping := _MAPPING.fullmatch(line):
            counted = not apart or mapping[1] != apart
        elif counted and (private := _PRIVATE.match(line)):
            total += int(private[1]) * KB
    return total


def private_memory(pids: list[int], apart: str = "") -> float:
    """Return the megabytes of private pages of processes; an ended process counts 0."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += private_bytes(Path(f"/proc/{pid}/smaps").read_text(), apart and str(Path(apart).resolve()))
    return total / MB


def anonymous_memory(pid: int) -> float:
    """Return the megabytes of a process's anonymous pages."""
    found = re.search(r"^Anonymous:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    assert found is not None, "smaps_rollup has a line Anonymous"
    return int(found[1]) * KB / MB


def cpu_seconds(pid: int, ticks: int) -> float:
    """Return the seconds of processor time of a process and its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / ticks
