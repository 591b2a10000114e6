"""Reads a process's output on the event loop and logs it line by line."""

import asyncio
import os
from collections import deque
from contextlib import suppress
from typing import Final

import structlog

OUTPUT_LINES: Final = 40
"""Last lines of a process's output that are kept for the report of its end."""
PIPE_SIZE: Final = 65536
"""The default capacity of a Linux pipe in bytes."""
MAX_LINE: Final = 4096
"""Bytes of one line of output; a longer line is split."""

_log = structlog.get_logger()


class ProcessOutput:
    """The standard output and error of a process: each line is logged at debug level, the last ones are kept."""

    def __init__(self, descriptor: int, pid: int, event: str) -> None:
        """Read ``descriptor`` from now on; lines are logged as ``event``."""
        self._event = event
        self._descriptor = descriptor
        self._log = _log.bind(pid=pid)
        self._rest = b""
        self._lines: deque[str] = deque(maxlen=OUTPUT_LINES)
        self._loop = asyncio.get_running_loop()
        os.set_blocking(descriptor, False)
        self._loop.add_reader(descriptor, self.read, MAX_LINE)

    @property
    def last_lines(self) -> tuple[str, ...]:
        """The last lines, including an unfinished one."""
        return (*self._lines, self._rest.decode(errors="replace")) if self._rest else tuple(self._lines)

    def read(self, size: int = PIPE_SIZE) -> None:
        """Read up to ``size`` bytes: a process that writes without end must not block the event loop."""
        with suppress(BlockingIOError):
            if block := os.read(self._descriptor, size):
                self._split(self._rest + block)
            else:
                self.close()

    def close(self) -> None:
        """Stop reading."""
        self._loop.remove_reader(self._descriptor)

    def _split(self, text: bytes) -> None:
        *lines, self._rest = text.split(b"\n")
        while len(self._rest) > MAX_LINE:
            lines.append(self._rest[:MAX_LINE])
            self._rest = self._rest[MAX_LINE:]
        for line in lines:
            if shown := line.decode(errors="replace").rstrip():
                self._lines.append(shown)
                self._log.debug(self._event, line=shown)
