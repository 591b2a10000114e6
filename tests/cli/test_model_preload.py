import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from antiphon.cli import model_preload as module
from antiphon.cli.model_preload import ModelPreload
from antiphon.engine.interface import EngineOptions
from antiphon.engine.models.bindings import EngineLoadError
from antiphon.engine.worker.worker_process import PreloadedWorker, WorkerSettings, settings_for, start_process
from antiphon.rendering.renderer_settings import RendererSettings


def test_process_and_vocabulary_of_the_preloaded_model_are_used(smollm2_path: Path) -> None:
    options = EngineOptions(model_path=str(smollm2_path))
    with ModelPreload(options) as preload:
        assert preload._worker is not None
        begun, reading = preload._worker._process, preload._reading
        assert begun is not None
        assert begun is preload.start_process(settings_for(options))
        assert reading is preload.read_vocabulary(options.model_path)
        assert reading is not None
        reading.result().close()
    begun.kill()
    begun.communicate()


def test_unused_fork_server_of_the_renderer_is_ended(smollm2_path: Path) -> None:
    settings = RendererSettings(model_path=str(smollm2_path))
    with ModelPreload(renderer=settings) as preload:
        assert preload.fork_server is not None
        assert preload.fork_server._started is not None
        process = preload.fork_server._started.process
        assert process.poll() is None
    assert process.returncode is not None


def test_vocabulary_of_another_model_is_read_on_demand(smollm2_path: Path) -> None:
    with ModelPreload() as preload:
        tokenizer = preload.read_vocabulary(str(smollm2_path)).result()
        assert str(smollm2_path) == tokenizer.path
        tokenizer.close()


def test_error_of_an_invalid_model_is_raised_to_the_caller(tmp_path: Path) -> None:
    path = str(tmp_path / "none.gguf")
    with ModelPreload(EngineOptions(model_path=path)) as preload, pytest.raises(EngineLoadError):
        preload.read_vocabulary(path).result()


def test_unused_process_is_ended(smollm2_path: Path) -> None:
    with ModelPreload(EngineOptions(model_path=str(smollm2_path))) as preload:
        assert preload._worker is not None
        process = preload._worker._process
    assert process is not None
    assert process.returncode is not None


def test_process_is_ended_when_no_thread_can_be_started(smollm2_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[subprocess.Popen[bytes]] = []

    def start(settings: WorkerSettings) -> "subprocess.Popen[bytes]":
        begun.append(start_process(settings))
        return begun[-1]

    def submit(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(module, "PreloadedWorker", lambda settings: PreloadedWorker(settings, start))
    monkeypatch.setattr(ThreadPoolExecutor, "submit", submit)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        ModelPreload(EngineOptions(model_path=str(smollm2_path)))
    (process,) = begun
    assert process.returncode is not None
