"""Room on the disk for deletions: SQLite cannot delete on a full one, since it writes its log before it frees anything.

A file beside the database holds the room. When a deletion finds the disk full, the file is emptied, the log is copied
into the database where that fits, and the deletion runs again; then the log is emptied and the file takes the room
again.
"""

import asyncio
import os
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

SIZE = 8 * 1024 * 1024
"""Bytes: the pages that a batch of deletions changes (at most some 4 MiB), or those of the log that are new to the
database between two checkpoints (some 3.6 MiB)."""
BLOCK = 64 * 1024
"""Bytes that are reserved at a time, so that what the disk still has is taken."""
LOG_ROOM = 1024 * 1024
"""Bytes that a checkpoint must leave to the deletion."""
CHECKPOINT_TIMEOUT = 1.0
"""Seconds to wait for readers of the log."""


class Reserve:
    """The file that holds the room of one database."""

    def __init__(self, database: Path) -> None:
        """``database`` is SQLite's file."""
        self._database = database
        self.path = database.with_name(f"{database.name}-reserve")

    async def fill(self) -> None:
        """Take as much of the room as the disk has."""
        await asyncio.to_thread(self._fill)

    @asynccontextmanager
    async def released(self) -> AsyncGenerator[None, None]:
        """Leave the room to the block."""
        await asyncio.to_thread(self._release)
        try:
            yield
        finally:
            await asyncio.to_thread(self._take_back)

    def _release(self) -> None:
        with suppress(OSError):
            os.truncate(self.path, 0)
        self._checkpoint()

    def _take_back(self) -> None:
        self._checkpoint()
        self._fill()

    def _fill(self) -> None:
        """Reserve blocks until there are enough, or the disk is full."""
        with suppress(OSError), closing(_Blocks(self.path)) as blocks:
            for begin in range(0, SIZE, BLOCK):
                blocks.reserve(begin)

    def _checkpoint(self) -> None:
        """Copy the log into the database and empty it; one that the disk has no room for would take what there is."""
        address = f"{self._database.absolute().as_uri()}?mode=rw"
        with suppress(OSError, sqlite3.Error), closing(sqlite3.connect(address, CHECKPOINT_TIMEOUT, uri=True)) as log:
            if self._growth(log) + LOG_ROOM <= _free(self._database):
                log.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _growth(self, connection: sqlite3.Connection) -> int:
        """Count the bytes that the file grows by when it takes the log in."""
        pages, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
        return max(0, int(pages * size) - self._database.stat().st_size)


class _Blocks:
    """A file that gets its blocks one by one."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        self._size = os.fstat(self._file).st_size

    def reserve(self, begin: int) -> None:
        if begin + BLOCK <= self._size:
            return
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(self._file, begin, BLOCK)
        else:
            os.pwrite(self._file, bytes(BLOCK), begin)

    def close(self) -> None:
        os.close(self._file)


def _free(path: Path) -> int:
    """Count the bytes that the file system has left for this user."""
    system = os.statvfs(path)
    return system.f_bavail * system.f_frsize
