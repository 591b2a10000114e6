import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from soak import faults as faults_module
from soak.faults import Fault, Faults, Kind
from soak.ledger import Ledger
from soak.mix import Mix
from soak.target import Target, measure, workers
from tests.scripted_engine import ScriptedEngine
from tests.server.conftest import MODEL, _quiet_log, running, scripted_app

__all__ = ["_quiet_log"]

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("_quiet_log")]
RANDOM = random.Random(0)  # noqa: S311 (nothing secret)


def faults(target: Target) -> Faults:
    return Faults(target, RANDOM, Mix(RANDOM, MODEL, Ledger(), max_body_size=1), every=1.0)


def excused(kind: Kind, began: float, ended: float, *, stores: bool = False, recovered: float | None = 20.0) -> bool:
    found = faults(Target(port=0, model=MODEL))
    found.all.append(Fault(kind=kind, began=10.0, recovered=recovered))
    return found.excuse(began, ended, stores=stores)


@pytest.mark.parametrize(
    ("expected", "began", "ended"), [(False, 1, 9), (True, 9, 11), (True, 12, 13), (True, 19, 25), (False, 21, 25)]
)
def test_fault_excuses_requests_of_its_time(expected: bool, began: float, ended: float) -> None:  # noqa: FBT001 (a parameter of the test)
    assert expected == excused("engine killed", began, ended)


def test_fault_without_a_recovery_excuses_all_later_requests() -> None:
    assert excused("engine killed", 1000, 1001, recovered=None)


def test_locked_database_excuses_only_requests_that_need_it() -> None:
    assert (True, False) == tuple(excused("database locked", 12, 13, stores=stores) for stores in (True, False))


@pytest.fixture
def process() -> "Iterator[subprocess.Popen[bytes]]":
    """A parent with one child that is called as an engine's worker is."""
    child = "import time; time.sleep(60) # antiphon.engine.worker.loop"
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {child!r}]).wait()"
    process = subprocess.Popen([sys.executable, "-c", code])  # noqa: S603 (our own code)
    yield process
    for pid in workers(process.pid):
        os.kill(pid, 9)
    process.kill()
    process.wait()


@asynccontextmanager
async def broken(target: Target, kind: Kind) -> AsyncIterator[Fault]:
    found = faults(target)
    await found.inject(kind)
    (fault,) = found.all
    yield fault


async def test_probe_begins_after_the_end_of_a_killed_engine(process: "subprocess.Popen[bytes]") -> None:
    with running(scripted_app(ScriptedEngine())) as port:
        target = Target(port=port, model=MODEL, pid=process.pid)
        while (pid := target.worker()) is None:
            pass
        async with broken(target, "engine killed") as fault:
            assert fault.recovered is not None
        assert pid != target.worker()


async def test_server_without_answers_has_not_recovered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults_module, "RECOVERY", 0.5)
    refusing = ScriptedEngine(refusal=ValueError("broken"))
    with running(scripted_app(refusing)) as port:
        async with broken(Target(port=port, model=MODEL), "engine killed") as fault:
            assert fault.recovered is None


async def test_database_is_locked_and_released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RANDOM, "uniform", lambda *_: 0.01)
    path = tmp_path / "antiphon.db"
    with running(scripted_app(ScriptedEngine())) as port:
        async with broken(Target(port=port, model=MODEL, database=path), "database locked") as fault:
            assert fault.recovered is not None
    with sqlite3.connect(path, timeout=0) as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()


def test_resources_of_a_process_are_measured() -> None:
    held = measure(os.getpid())
    assert held is not None
    assert held.descriptors >= held.sockets
    assert held.rss > 0 < held.threads


def test_resources_of_an_ended_process_are_none() -> None:
    assert measure(2**22 + 1) is None
