"""Reserved disk space for deletions: on a full disk SQLite cannot delete, since it writes to its log first.

A file beside the database holds the space. When a deletion finds the disk full, the file is truncated, the log is
copied into the database if that fits, and the deletion runs again. Then the log is truncated and the file filled again.
"""

import asyncio
import os
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

SIZE = 8 * 1024 * 1024
"""Size of the file in bytes: room for the pages that a batch of deletions changes (some 4 MiB at most), or for the new
pages of the log between two checkpoints (some 3.6 MiB)."""
BLOCK = 64 * 1024
"""Bytes that are reserved at a time, so that a nearly full disk gives its rest."""
LOG_ROOM = 1024 * 1024
"""Bytes that a checkpoint must leave for the deletion."""
CHECKPOINT_TIMEOUT = 1.0
"""Seconds that a checkpoint waits for readers of the log."""


class Reserve:
    """The file that reserves the space of one database."""

    def __init__(self, database: Path) -> None:
        """``database`` is SQLite's file."""
        self._database = database
        self.path = database.with_name(f"{database.name}-reserve")

    async def fill(self) -> None:
        """Reserve as much of :data:`SIZE` as the disk has."""
        await asyncio.to_thread(self._fill)

    @asynccontextmanager
    async def released(self) -> AsyncGenerator[None, None]:
        """Free the space for the block; reserve it again afterwards."""
        await asyncio.to_thread(self._release)
        try:
            yield
        finally:
            await asyncio.to_thread(self._restore)

    def _release(self) -> None:
        with suppress(OSError):
            os.truncate(self.path, 0)
        self._checkpoint()

    def _restore(self) -> None:
        self._checkpoint()
        self._fill()

    def _fill(self) -> None:
        """Reserve blocks up to :data:`SIZE`, or until the disk is full."""
        with suppress(OSError), closing(_Blocks(self.path)) as blocks:
            for begin in range(0, SIZE, BLOCK):
                blocks.reserve(begin)

    def _checkpoint(self) -> None:
        """Copy the log into the database and truncate it, unless the copy would fill the disk."""
        address = f"{self._database.absolute().as_uri()}?mode=rw"
        with suppress(OSError, sqlite3.Error), closing(sqlite3.connect(address, CHECKPOINT_TIMEOUT, uri=True)) as log:
            if self._growth(log) + LOG_ROOM <= _free(self._database):
                log.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _growth(self, connection: sqlite3.Connection) -> int:
        """Return the bytes by which a checkpoint makes the database file grow."""
        pages, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
        return max(0, int(pages * size) - self._database.stat().st_size)


class _Blocks:
    """A file whose blocks are reserved one by one."""

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
    """Return the free bytes of the file system for this user."""
    system = os.statvfs(path)
    return system.f_bavail * system.f_frsize
