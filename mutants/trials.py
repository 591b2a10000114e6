"""Runs tests against a mutant: in a copy of the tree, and in a process of its own that can be killed.

The processes are forked from one that has the libraries loaded, so that a run costs little more than its tests; nothing
of the tree is loaded before the fork.
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
"""The tests import these, some of them slowly."""
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
"""Of pytest, for which installed plugins are not looked up: that takes longer than most tests."""
MEMORY: Final = 8 << 30
"""Bytes of address space for the tests of a mutant: one that never stops appending must not take the machine's."""
POLL: Final = 0.01
"""Seconds between two looks at a process."""
TIMES_AS_BUSY: Final = 4
GRACE: Final = 5.0
"""A mutant's tests may use so many times the processor's time that they use without a mutant, and so many seconds more,
until it counts as one that never ends. That is the same on a busy machine."""
TIMES_AS_LONG: Final = 10
PATIENCE: Final = 30.0
"""They may take so many times as long by the clock, and so many seconds more: then they wait for something."""


class Outcome(Enum):
    """How the tests took a mutant."""

    KILLED = "killed"
    TIMED_OUT = "timed out"
    SURVIVED = "survived"


class Times(Struct, frozen=True):
    """Seconds."""

    busy: float
    """Of the processor, for the tests and the processes that they started and waited for."""
    whole: float
    """By the clock."""


class Trials:
    """A copy of the tree in ``folder``, and the tests that are run in it."""

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
        """Run the tests without a mutant; return the time they took.

        Raises ValueError, with the end of what they wrote, when they fail or take longer than ``limit`` seconds.
        """
        outcome, times = self._run(tests, Times(limit, limit))
        if outcome is not Outcome.SURVIVED:
            written = self._log.read_text(errors="replace").strip().splitlines()
            raise ValueError("the tests fail without a mutant: " + " / ".join(written[-3:]))
        return times

    def tried(self, path: Path, mutated: str, tests: Sequence[Path], usual: Times) -> Outcome:
        """Run the tests with other contents of the file at ``path``; ``usual`` is the time they take without."""
        limits = Times(TIMES_AS_BUSY * usual.busy + GRACE, TIMES_AS_LONG * usual.whole + PATIENCE)
        file = self._tree / path
        original = file.read_text()
        try:
            self._write(file, mutated)
            return self._run(tests, limits)[0]
        finally:
            self._write(file, original)

    def _write(self, file: Path, text: str) -> None:
        """Write a module with a time of its own: Python tells by that and the size whether bytecode is stale."""
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
        """Become a process that runs the tests and ends."""
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
    """Wait for a process; return how it ended, or None when it runs for longer than ``limit`` seconds."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        found = os.wait4(child, os.WNOHANG)
        if found[0]:
            return found
        time.sleep(POLL)
    return None


def _kill_group(child: int) -> None:
    """End a process that ``_test`` made, and those that it started."""
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:
        return
