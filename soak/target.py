"""The server under test: its process, its engine's process, and their resources."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct

START: Final = 180.0
"""Seconds within which the server must listen."""
END: Final = 30.0
"""Seconds within which the server must end after SIGTERM."""
MAX_BODY_SIZE: Final = 1024 * 1024
HOST: Final = "127.0.0.1"
QUIET: Final = ("--host", HOST, "--port", "0", "--log-level", "warning", "--log-json")
OPTIONS: Final = (
    *("--max-num-seqs", "8", "--max-waiting", "16", "--write-timeout", "15", "--max-body-size", str(MAX_BODY_SIZE)),
)
"""Limits low enough that the run reaches them."""
WORKER: Final = b"antiphon.engine.worker.loop"
PAGE: Final = os.sysconf("SC_PAGE_SIZE")
PORT: Final = re.compile(rf"http://{re.escape(HOST)}:(\d+)/")
SILENT_LOG: Final = ("unhandled_exception", "stream_failed", "engine_supervisor_failed", "Traceback")
"""Texts of programming errors, which the log must not contain."""


class Held(Struct, frozen=True):
    """The resources of a process."""

    rss: int
    """Bytes of memory."""
    sockets: int
    descriptors: int
    """Descriptors, sockets included."""
    threads: int


class Target(Struct, frozen=True, kw_only=True):
    """A server that listens on loopback."""

    port: int
    model: str
    max_body_size: int = MAX_BODY_SIZE
    pid: int | None = None
    """The id of its process, if faults may be injected."""
    database: Path | None = None
    log: Path | None = None

    def held(self) -> Held | None:
        """Return the resources of the process that serves HTTP, or None."""
        return None if self.pid is None else measure(self.pid)

    def worker(self) -> int | None:
        """Return the id of the engine's process, or None."""
        return None if self.pid is None else next(workers(self.pid), None)

    def memory(self) -> int:
        """Return the bytes of memory of both processes."""
        if self.pid is None:
            return 0
        return sum(found.rss for pid in (self.pid, *workers(self.pid)) if (found := measure(pid)) is not None)

    def mistakes(self) -> list[str]:
        """Return the log's lines about programming errors."""
        if self.log is None:
            return []
        lines = self.log.read_text(errors="replace").splitlines()
        return [line for line in lines if any(mark in line for mark in SILENT_LOG)]


def measure(pid: int) -> Held | None:
    """Return the resources of a process, or None when it has ended."""
    folder = Path("/proc") / str(pid)
    try:
        rss = int((folder / "statm").read_text().split()[1]) * PAGE
        links = [_link(path) for path in (folder / "fd").iterdir()]
        threads = len(list((folder / "task").iterdir()))
    except (OSError, IndexError):
        return None
    return Held(rss, sum(link.startswith("socket:") for link in links), len(links), threads)


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""


def workers(pid: int) -> Iterator[int]:
    """Yield the ids of the engines among a process's children."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(") ")[2].split()[1])
            if parent == pid and WORKER in (path.parent / "cmdline").read_bytes():
                yield int(path.parent.name)
        except (OSError, IndexError, ValueError):
            continue


@contextmanager
def serving(model: str, folder: Path, options: tuple[str, ...] = OPTIONS) -> Iterator[Target]:
    """Run ``antiphon serve`` with a database in ``folder`` until the block ends. Raises RuntimeError."""
    log = folder / "log"
    command = [sys.executable, "-m", "antiphon", "serve", "--model", f"soak={model}", "--data-dir", str(folder)]
    with log.open("w") as stderr:
        process = subprocess.Popen(  # noqa: S603 (our own command)
            [*command, *QUIET, *options], stdout=subprocess.PIPE, stderr=stderr, text=True
        )
    try:
        port = _port(process, log)
        yield Target(port=port, model="soak", pid=process.pid, database=folder / "antiphon.db", log=log)
    finally:
        end(process)


def end(process: "subprocess.Popen[str]") -> int:
    """End a process with SIGTERM, or with SIGKILL after :data:`END` seconds, and return its status."""
    process.send_signal(signal.SIGTERM)
    try:
        return process.wait(END)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _port(process: "subprocess.Popen[str]", log: Path) -> int:
    assert process.stdout is not None
    deadline = time.monotonic() + START
    while time.monotonic() < deadline:
        line = process.stdout.readline()
        if found := PORT.search(line):
            return int(found[1])
        if not line:
            break
    raise RuntimeError(f"the server does not listen: {log.read_text(errors='replace')[-2000:]}")
