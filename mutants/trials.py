"""Runs tests on a mutant in a copy of the tree, in a process that can be killed.

Each process is forked from one that has the libraries loaded, so that a run takes little longer than its tests. No
module of the tree is loaded before the fork.
"""

import importlib
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from enum import Enum
from math import ceil
from pathlib import Path
from typing import Final

import pytest
from msgspec import Struct

from mutants.modules import SOURCE

LIBRARIES: Final = (
    "hypothesis",
    "numpy",
    "msgspec",
    "llguidance",
    "jinja2",
    "jsonschema",
    "anyio",
    "sqlalchemy.ext.asyncio",
)
"""Libraries that the tests import, some of them slowly."""
COPIED: Final = (
    "src",
    "tests",
    "mutants",
    "fuzz",
    "scripts",
    "pyproject.toml",
    "requirements.txt",
    "docs",
    "README.md",
)
PLUGINS: Final = ("anyio.pytest_plugin", "_hypothesis_pytestplugin", "mutants.quick_tests")
OPTIONS: Final = (
    *("-x", "-q", "--tb=line", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"),
    *(option for plugin in PLUGINS for option in ("-p", plugin)),
)
"""Options of pytest. It does not search for installed plugins, which would take longer than most tests."""
MEMORY: Final = 8 << 30
"""Bytes of address space for the tests of a mutant, because a mutant may allocate without an end."""
POLL: Final = 0.01
"""Seconds between two polls of a process."""
TIMES_AS_BUSY: Final = 4
GRACE: Final = 5.0
"""A mutant times out when its tests use more processor time than ``TIMES_AS_BUSY`` times the usual and ``GRACE``
seconds more. Other load on the machine does not change that."""
TIMES_AS_LONG: Final = 10
PATIENCE: Final = 30.0
"""A mutant also times out after ``TIMES_AS_LONG`` times the usual time and ``PATIENCE`` seconds more: its tests wait
without an end."""


class Outcome(Enum):
    """The outcome of the tests of a mutant."""

    KILLED = "killed"
    TIMED_OUT = "timed out"
    SURVIVED = "survived"


class Times(Struct, frozen=True):
    """The seconds of a run."""

    busy: float
    """Processor time of the tests and their child processes."""
    whole: float
    """Wall time."""


class Trials:
    """A copy of the tree in ``folder``, in which the tests run."""

    def __init__(self, root: Path, folder: Path) -> None:
        self._tree: Final = folder / "tree"
        self._temporary: Final = folder / "temporary"
        self._log: Final = folder / "log"
        self._changes = 0
        for name in COPIED:
            copy = shutil.copytree if (root / name).is_dir() else shutil.copy
            self._tree.mkdir(parents=True, exist_ok=True)
            copy(root / name, self._tree / name)
        for library in LIBRARIES:
            importlib.import_module(library)

    def unchanged(self, tests: Sequence[Path], limit: float) -> Times:
        """Run the tests without a mutant and return their time.

        Raises ValueError with the last lines of their output when they fail or take longer than ``limit`` seconds.
        """
        outcome, times = self._run(tests, Times(limit, limit))
        if outcome is not Outcome.SURVIVED:
            written = self._log.read_text(errors="replace").strip().splitlines()
            raise ValueError("the tests fail without a mutant: " + " / ".join(written[-3:]))
        return times

    def tried(self, path: Path, mutated: str, tests: Sequence[Path], usual: Times) -> Outcome:
        """Run the tests with ``mutated`` as the file at ``path``; ``usual`` is their time without a mutant."""
        limits = Times(TIMES_AS_BUSY * usual.busy + GRACE, TIMES_AS_LONG * usual.whole + PATIENCE)
        file = self._tree / path
        original = file.read_text()
        try:
            self._write(file, mutated)
            return self._run(tests, limits)[0]
        finally:
            self._write(file, original)

    def _write(self, file: Path, text: str) -> None:
        """Write a module with a unique time: Python compares time and size to detect stale bytecode."""
        file.write_text(text)
        self._changes += 1
        os.utime(file, (self._changes, self._changes))

    def _run(self, tests: Sequence[Path], limits: Times) -> tuple[Outcome, Times]:
        self._temporary.mkdir(exist_ok=True)
        began = time.monotonic()
        child = os.fork()
        if child == 0:
            self._test(tests, limits)
        ended = _ended(child, limits.whole)
        whole = time.monotonic() - began
        _kill_group(child)
        _, status, used = ended or os.wait4(child, 0)
        shutil.rmtree(self._temporary, ignore_errors=True)
        times = Times(used.ru_utime + used.ru_stime, whole)
        code = os.waitstatus_to_exitcode(status)
        if ended is None or code == -signal.SIGXCPU:
            return Outcome.TIMED_OUT, times
        return (Outcome.SURVIVED if code == 0 else Outcome.KILLED), times

    def _test(self, tests: Sequence[Path], limits: Times) -> None:
        """Run the tests in this process and exit."""
        code = 1
        try:
            os.setsid()
            os.chdir(self._tree)
            log = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            for stream in (1, 2):
                os.dup2(log, stream)
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            resource.setrlimit(resource.RLIMIT_CPU, (ceil(limits.busy), ceil(limits.busy) + 1))
            os.environ.update(PYTHONPATH=str(SOURCE.parent.absolute()), TMPDIR=str(self._temporary))
            os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
            sys.path[:] = [
                str(SOURCE.parent.absolute()),
                str(self._tree),
                *(each for each in sys.path if _is_library(each)),
            ]
            code = pytest.main([*OPTIONS, *map(str, tests)])
        finally:
            sys.stdout.flush()
            os._exit(code)


def _is_library(folder: str) -> bool:
    return "site-packages" in folder or folder.startswith((sys.base_prefix, sys.base_exec_prefix))


def _ended(child: int, limit: float) -> tuple[int, int, resource.struct_rusage] | None:
    """Wait for a process and return its end, or None after ``limit`` seconds."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        found = os.wait4(child, os.WNOHANG)
        if found[0]:
            return found
        time.sleep(POLL)
    return None


def _kill_group(child: int) -> None:
    """Kill the process group of a process that ran ``_test``."""
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:
        return
