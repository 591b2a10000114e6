"""Engines that die, hang or cannot load, as clients and operators see it. The server lives through all of it."""

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from antiphon.service.health import Health
from tests.conftest import ROOT, START
from tests.engine.tiny_gguf import write_tiny_model
from tests.faults.serving import Faulty, faulty

HARMED, SOUND = "harmed", "sound"
SILENCE = 4
"""Seconds after which a silent engine of these tests is killed."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Faulty, Path]]:
    folder = tmp_path_factory.mktemp("engine")
    path = write_tiny_model(folder / f"{HARMED}.gguf")
    with faulty(folder, "--model", str(path), "--heartbeat-timeout", str(SILENCE), "--max-num-seqs", "1") as server:
        yield server, path


@pytest.fixture
def model(running: tuple[Faulty, Path]) -> Path:
    """The file of the only model of ``server``."""
    return running[1]


@pytest.fixture
def server(running: tuple[Faulty, Path]) -> Iterator[Faulty]:
    """A server whose engine is ready. Each of its restarts waits longer than the one before."""
    server = running[0]
    server.wait_until(lambda: server.health().status == "ready")
    yield server
    assert server.process.poll() is None


def states(health: Health) -> dict[str, tuple[str, str | None]]:
    return {model.id: (model.status, model.reason) for model in health.models}


def restarts(server: Faulty) -> int:
    return server.health().models[0].restarts


def message(answer: httpx2.Response) -> str:
    text: str = answer.json()["error"]["message"]
    return text


def restart_failed(server: Faulty) -> bool:
    """Whether requests are refused at once."""
    return "cannot be restarted" in server.ask(HARMED).text


ENDS = {
    signal.SIGKILL: "it was killed by SIGKILL",  # by the kernel, where memory runs out
    signal.SIGABRT: "it was killed by SIGABRT",  # by a failed assertion inside llama.cpp
    signal.SIGSTOP: f"the engine sent no message for {SILENCE} s",
}


@pytest.mark.parametrize("number", ENDS)
def test_a_stream_ends_in_one_error_and_the_next_request_is_answered(
    server: Faulty, model: Path, number: signal.Signals
) -> None:
    before = restarts(server)
    with server.stream(HARMED, max_completion_tokens=400, n=8) as stream:
        os.kill(server.worker(model), number)
        *chunks, last = stream.rest()
    assert [] == [chunk for chunk in chunks if "error" in chunk or chunk == "[DONE]"]
    said = f"The engine stopped while it answered: {ENDS[number]}."
    assert {"message": said, "type": "server_error", "param": None, "code": "service_unavailable"} == last["error"]
    assert 200 == server.ask(HARMED).status_code
    assert (before + 1, {HARMED: ("ready", None)}) == (restarts(server), states(server.health()))


def test_a_whole_answer_becomes_a_503(server: Faulty, model: Path) -> None:
    os.kill(server.worker(model), signal.SIGSTOP)
    answer = server.ask(HARMED)
    assert (503, "service_unavailable", "1") == (
        answer.status_code,
        answer.json()["error"]["code"],
        answer.headers["retry-after"],
    )


def test_an_engine_whose_memory_runs_out_is_restarted(server: Faulty, model: Path) -> None:
    """Each copy of a grammar's state takes memory, and so does each thread: requests fail until a step or the process
    does."""
    before = restarts(server)
    worker = server.worker(model)
    size = int(Path(f"/proc/{worker}/statm").read_text().split()[0]) * resource.getpagesize()
    resource.prlimit(worker, resource.RLIMIT_AS, (size + 1, size + 1))
    answer = server.ask(HARMED, n=100, max_completion_tokens=400, response_format={"type": "json_object"})
    assert answer.status_code in {500, 503}
    server.wait_until(lambda: server.ask(HARMED).status_code == 200)
    assert before < restarts(server)


def test_the_server_itself_maps_no_model(server: Faulty) -> None:
    """A file cut short under a mapping kills the process that holds it."""
    assert ".gguf" not in Path(f"/proc/{server.process.pid}/maps").read_text()


def test_a_model_that_does_not_fit_is_told_at_the_start(tmp_path: Path, model: Path) -> None:
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30));"
        "from antiphon.cli import main; sys.exit(main())"
    )
    arguments = ["serve", "--port", "0", "--data-dir", str(tmp_path), "--model", str(model), "--ctx-size", "100000000"]
    done = subprocess.run(  # noqa: S603 (our own command)
        [sys.executable, "-c", script, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=START, check=False
    )
    assert (1, "") == (done.returncode, done.stdout)
    assert "The model harmed cannot be served: No memory for a context of" in done.stderr
    assert "Traceback" not in done.stderr


def test_while_one_engine_is_down_the_other_model_answers_and_health_says_which(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / f"{HARMED}.gguf")
    sound = Path(shutil.copy(model, tmp_path / f"{SOUND}.gguf"))
    with faulty(tmp_path, "--model", str(model), "--model", str(sound)) as server:
        os.kill(server.worker(model), signal.SIGKILL)
        model.rename(tmp_path / "elsewhere")
        server.wait_until(lambda: restart_failed(server))
        health = server.http.get("/health")
        gone = "There is no model file at harmed.gguf."
        assert (200, "degraded") == (health.status_code, health.json()["status"])
        assert {HARMED: ("restarting", gone), SOUND: ("ready", None)} == states(server.health())
        refusal = server.ask(HARMED)
        assert (503, f"The engine cannot be restarted. {gone}") == (refusal.status_code, message(refusal))
        assert 1 <= int(refusal.headers["retry-after"])
        assert 200 == server.ask(SOUND).status_code
        probes = [server.http.get(f"/health/{name}") for name in ("live", "ready")]
        assert [(200, "live"), (200, "degraded")] == [(each.status_code, each.json()["status"]) for each in probes]
        (tmp_path / "elsewhere").rename(model)
        server.wait_until(lambda: server.health().status == "ready")


def test_a_file_that_is_cut_short_kills_its_engine_only_and_is_loaded_once_it_is_whole(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / f"{HARMED}.gguf")
    whole = model.read_bytes()
    with faulty(tmp_path, "--model", str(model)) as server:
        os.truncate(model, 4096)
        answer = server.ask(HARMED)
        assert (503, "The engine stopped while it answered: it was killed by SIGBUS.") == (
            answer.status_code,
            message(answer),
        )
        server.wait_until(lambda: restart_failed(server))
        damaged = "harmed.gguf could not be loaded: it is no GGUF file, is damaged, or does not fit in memory."
        assert ("live", {HARMED: ("restarting", damaged)}) == (server.health().status, states(server.health()))
        model.write_bytes(whole)
        server.wait_until(lambda: server.ask(HARMED).status_code == 200)


def test_a_file_that_was_replaced_is_not_served_until_the_server_is_restarted(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / f"{HARMED}.gguf")
    with faulty(tmp_path, "--model", str(model)) as server:
        fingerprint = server.ask(HARMED).json()["system_fingerprint"]
        old = model.rename(tmp_path / "old")
        write_tiny_model(model, seed=2)
        assert fingerprint == server.ask(HARMED).json()["system_fingerprint"]
        os.kill(server.worker(old), signal.SIGKILL)
        server.wait_until(lambda: restart_failed(server))
        assert "is not the one that the server was started with" in (server.health().models[0].reason or "")
        old.replace(model)
        server.wait_until(lambda: server.ask(HARMED).status_code == 200)
        assert fingerprint == server.ask(HARMED).json()["system_fingerprint"]
