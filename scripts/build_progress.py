"""Shows the progress of a compilation from pip's verbose output: a bar on a terminal, a line per tenth elsewhere."""

import re
import sys
import time
from collections.abc import Iterable
from typing import TextIO

STEP = re.compile(r"\s*\[\s*(\d+)(?:/(\d+)|%)\]")
"""The prefix of ninja's (``[12/345]``) and make's (``[  3%]``) lines."""
WIDTH = 40


def fraction(line: str) -> float | None:
    """Return the completed share of the compilation at this line, or None when the line does not state it."""
    match = STEP.match(line)
    if match is None:
        return None
    return min(1.0, int(match[1]) / max(1, int(match[2] or 100)))


def show(lines: Iterable[str], out: TextIO, started: float) -> None:
    """Write the progress of a build with the output ``lines``; write nothing when no build is needed."""
    tenth = -1
    for line in lines:
        if "Building wheel for llama" in line and "started" in line:
            out.write("  Compiling llama.cpp for this machine, once: 3 to 5 minutes on 2 cores.\n")
        done = fraction(line)
        if done is None:
            continue
        if out.isatty():
            out.write("\r" + bar(done, time.monotonic() - started))
        elif int(done * 10) > tenth:
            tenth = int(done * 10)
            out.write(bar(done, time.monotonic() - started) + "\n")
        out.flush()
    if out.isatty():
        out.write("\r\033[K")


def bar(done: float, seconds: float) -> str:
    """Draw one line: ``  [####----]  50%  1:23``."""
    filled = round(done * WIDTH)
    minutes, rest = divmod(int(seconds), 60)
    return f"  [{'#' * filled}{'-' * (WIDTH - filled)}] {done:4.0%}  {minutes}:{rest:02}"


if __name__ == "__main__":
    show(sys.stdin, sys.stdout, time.monotonic())
