import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from antiphon.engine.interface import EngineOptions
from antiphon.engine.worker.worker_process import (
    PreloadedWorker,
    WorkerSettings,
    settings_for,
    start_process,
    write_line,
)

SETTINGS = settings_for(EngineOptions(model_path="a.gguf"), "nowhere:core")
OTHERS = settings_for(EngineOptions(model_path="b.gguf"), "nowhere:core")


class System:
    """Starts processes that read their input to its end instead of loading a model."""

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


def test_take_with_its_settings_returns_the_preloaded_process(system: System) -> None:
    with PreloadedWorker(SETTINGS, system.start) as preloaded:
        assert [SETTINGS] == system.asked
        assert system.started[0] is preloaded.take(SETTINGS)
    assert system.started[0].poll() is None


def test_second_take_starts_a_new_process(system: System) -> None:
    with PreloadedWorker(SETTINGS, system.start) as preloaded:
        preloaded.take(SETTINGS)
        assert system.started[0] is not preloaded.take(SETTINGS)
    assert [SETTINGS, SETTINGS] == system.asked


def test_take_with_other_settings_ends_the_preloaded_process_and_starts_a_new_one(system: System) -> None:
    with PreloadedWorker(SETTINGS, system.start) as preloaded:
        taken = preloaded.take(OTHERS)
        assert [SETTINGS, OTHERS] == system.asked
        assert system.started[1] is taken
        assert system.started[0].returncode is not None


def test_process_that_was_not_taken_is_ended(system: System) -> None:
    with PreloadedWorker(SETTINGS, system.start):
        pass
    assert system.started[0].returncode is not None


def test_take_raises_when_the_system_starts_no_process() -> None:
    def refuse(_: WorkerSettings) -> "subprocess.Popen[bytes]":
        raise OSError("no more processes")

    with PreloadedWorker(SETTINGS, refuse) as preloaded, pytest.raises(OSError, match="no more processes"):
        preloaded.take(SETTINGS)


def test_worker_process_has_its_own_process_group() -> None:
    process = start_process(SETTINGS)
    try:
        assert process.pid == os.getpgid(process.pid)
    finally:
        process.kill()
        process.communicate()


def test_write_line_to_an_ended_process_has_no_effect(system: System) -> None:
    process = system.start(SETTINGS)
    process.kill()
    process.wait()
    write_line(process, SETTINGS)
    assert process.returncode is not None
