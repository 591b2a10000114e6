"""A PostgreSQL server for tests, in a temporary folder, with a Unix socket and no network."""

import getpass
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

START = 60.0
"""Seconds that a start or stop of the server may take."""
SETTINGS = {"listen_addresses": "", "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
"""Faster settings without crash safety: tests never kill the server."""


def bin_folder() -> Path | None:
    """Return the path of initdb: from PATH, or from Debian's folders of versions."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    versions = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    return max(versions, key=lambda path: float(path.parent.name), default=None)


def account() -> str | None:
    """Return the user to run as: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return getpass.getuser()
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in names), None)


class PostgreSQL(Struct, frozen=True):
    """The running server."""

    folder: Path
    programs: Path

    def url(self, database: str) -> str:
        """Return the address of a database."""
        return f"postgresql:///{database}?host={self.folder}&user=antiphon"

    def create(self, database: str) -> str:
        """Create a database; return its address."""
        self._run("createdb", "--template=template0", database)
        return self.url(database)

    def drop(self, database: str) -> None:
        """Drop a database; close its connections."""
        self._run("dropdb", "--force", database)

    def execute(self, database: str, statements: str) -> None:
        """Run SQL in one transaction."""
        self._run("psql", "--quiet", "--set=ON_ERROR_STOP=1", "--dbname", database, "--command", statements)

    def _run(self, program: str, *arguments: str) -> None:
        command: list[str | Path] = [
            self.programs / program,
            "--host",
            self.folder,
            "--username",
            "antiphon",
            *arguments,
        ]
        subprocess.run(command, check=True, timeout=START)  # noqa: S603 (our own command)


@contextmanager
def running(programs: Path, user: str) -> Iterator[PostgreSQL]:
    """Create a cluster and run it for the block. Its locale is English, so that a missing COLLATE shows."""
    folder = Path(tempfile.mkdtemp(prefix="antiphon-postgresql-"))
    shutil.chown(folder, user)
    as_user = {"user": user} if os.geteuid() == 0 else {}
    data = folder / "data"
    locale = ["--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US"]
    initdb: list[str | Path] = [programs / "initdb", "--auth=trust", "--no-sync", "--username=antiphon", *locale, data]
    try:
        subprocess.run(  # type: ignore[call-overload]  # noqa: S603 (our own command)
            initdb, check=True, stdout=subprocess.DEVNULL, cwd=folder, **as_user
        )
        with started(programs, user, folder):
            yield PostgreSQL(folder, programs)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def started(programs: Path, user: str, folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the server of a cluster for the block."""
    as_user = {"user": user} if os.geteuid() == 0 else {}
    options = [f"-c{name}={value}" for name, value in SETTINGS.items()]
    with (folder / "log").open("a") as log:
        server: subprocess.Popen[bytes] = subprocess.Popen(  # type: ignore[call-overload]  # noqa: S603 (our own command)
            [programs / "postgres", "-D", folder / "data", "-k", folder, *options], stderr=log, cwd=folder, **as_user
        )
    try:
        _wait(programs, folder)
        yield server
    finally:
        stop(server)


def stop(server: "subprocess.Popen[bytes]") -> None:
    """Stop the server; close all connections."""
    server.send_signal(2)  # SIGINT: the fast shutdown
    server.wait(START)


def _wait(programs: Path, folder: Path) -> None:
    deadline = time.monotonic() + START
    ready: list[str | Path] = [programs / "pg_isready", "--quiet", "--host", folder]
    while subprocess.run(ready, check=False).returncode:  # noqa: S603 (our own command)
        assert time.monotonic() < deadline, (folder / "log").read_text()
        time.sleep(0.05)
