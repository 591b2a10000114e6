import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from antiphon.engine.interface import EngineOptions
from antiphon.engine.worker.worker_process import PreloadedWorker, WorkerSettings, settings_for, start_process, tell

SETTINGS = settings_for(EngineOptions(model_path="a.gguf"), "nowhere:core")
OTHERS = settings_for(EngineOptions(model_path="b.gguf"), "nowhere:core")


class System:
    """Starts processes that wait for their input's end instead of loading a model."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[bytes]] = []
        self.asked: list[WorkerSettings] = []

    def start(self, settings: WorkerSettings) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
        self.asked.append(settings)
        self.started.append(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # noqa: S603
        )
        return self.started[-1]


@pytest.fixture
def system() -> Iterator[System]:
    system = System()
    yield system
    for process in system.started:
        process.kill()
        process.communicate()


def test_who_asks_for_its_settings_gets_the_process_that_loads_already(system: System) -> None:
    with PreloadedWorker(SETTINGS, system.start) as standby:
        assert [SETTINGS] == system.asked
        assert system.started[0] is standby.take(SETTINGS)
    assert system.started[0].poll() is None


def test_it_is_given_once(system: System) -> None:
    with PreloadedWorker(SETTINGS, system.start) as standby:
        standby.take(SETTINGS)
        assert system.started[0] is not standby.take(SETTINGS)
    assert [SETTINGS, SETTINGS] == system.asked


def test_other_settings_get_a_process_of_their_own_and_nothing_waits_any_more(system: System) -> None:
    with PreloadedWorker(SETTINGS, system.start) as standby:
        taken = standby.take(OTHERS)
        assert [SETTINGS, OTHERS] == system.asked
        assert system.started[1] is taken
        assert system.started[0].returncode is not None


def test_what_nobody_took_is_ended(system: System) -> None:
    with PreloadedWorker(SETTINGS, system.start):
        pass
    assert system.started[0].returncode is not None


def test_a_system_that_starts_no_process_is_told_to_who_asks_for_one() -> None:
    def refuse(_: WorkerSettings) -> "subprocess.Popen[bytes]":
        raise OSError("no more processes")

    with PreloadedWorker(SETTINGS, refuse) as standby, pytest.raises(OSError, match="no more processes"):
        standby.take(SETTINGS)


def test_it_is_in_a_process_group_of_its_own() -> None:
    process = start_process(SETTINGS)
    try:
        assert process.pid == os.getpgid(process.pid)
    finally:
        process.kill()
        process.communicate()


def test_a_process_that_has_gone_can_be_told_things(system: System) -> None:
    process = system.start(SETTINGS)
    process.kill()
    process.wait()
    tell(process, SETTINGS)
    assert process.returncode is not None
