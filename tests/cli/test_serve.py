import gc
import json
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import openai
import pytest

from antiphon.cli.serve import bind, first_error, without_garbage_collection
from antiphon.config import ServerOptions
from antiphon.console.command_error import CommandError
from tests.conftest import END, Installed, LiveServer
from tests.engine.tiny_gguf import write_tiny_model
from tests.model_files.test_hub import FakeHub, running
from tests.telemetry.collector import collecting

Serve = Callable[..., AbstractContextManager[LiveServer]]


def paste(line: str) -> str:
    """Run a line in a shell and return its stdout."""
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=120, check=True)  # noqa: S603, S607
    return done.stdout


def test_printed_line_works_in_a_shell(live_server: LiveServer) -> None:
    answer = json.loads(paste(live_server.curl))
    assert "smollm2-135m-instruct" == answer["model"]
    assert "sea" in answer["choices"][0]["message"]["content"]


def test_official_client_gets_a_stream(live_server: LiveServer) -> None:
    with openai.OpenAI(base_url=f"{live_server.url}/v1", api_key="unused", max_retries=0) as client:
        stream = client.chat.completions.create(
            model=client.models.list().data[0].id,
            messages=[{"role": "user", "content": "Write a long story about the sea."}],
            max_completion_tokens=2,
            stream=True,
        )
        with stream:
            chunks = list(stream)
    assert [True, "length"] == [bool(chunks[0].choices), chunks[-1].choices[0].finish_reason]


def test_start_prints_the_settings_and_sigterm_ends_with_status_0(serve: Serve) -> None:
    with serve("--ctx-size", "1024", "--threads", "1", "--no-flash-attn", "--max-num-seqs", "3") as server:
        assert 0 == server.terminate()
        said = server.log.read_text()
    for expected in (
        "1024 tokens",
        "3 sequences",
        "1 decoding",
        "flash attention   off",
        "instruction sets",
        "Ready on",
    ):
        assert expected in said


def test_stdout_has_only_the_example_line(serve: Serve) -> None:
    with serve() as server:
        server.process.send_signal(signal.SIGINT)
        assert 0 == server.process.wait(END)
        assert server.process.stdout is not None
        assert "" == server.process.stdout.read()


def test_log_has_no_prompt_and_no_answer(serve: Serve) -> None:
    with serve("--log-level", "debug") as server:
        paste(server.curl)
        assert 0 == server.terminate()
        logged = server.log.read_text()
    assert '"event": "request"' in logged
    assert "sentence about" not in logged
    assert "The sea" not in logged


def test_last_traces_are_sent_when_the_server_ends(serve: Serve) -> None:
    with collecting() as collector:
        with serve("--ctx-size", "256", "--otlp-traces-endpoint", collector.url, NO_PROXY="*") as server:
            paste(server.curl)
            assert 0 == server.terminate()
        spans = collector.spans
    assert {"POST /v1/chat/completions", "chat smollm2-135m-instruct"} == set(spans)
    assert "sentence about" not in str(spans)


def started(command: Sequence[str], installed: Installed) -> "subprocess.Popen[str]":
    """Start a process with pipes for its output."""
    return subprocess.Popen(  # noqa: S603 (our own command)
        command, env=installed.environ(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_signal_ends_the_loading(installed: Installed, smollm2_path: Path) -> None:
    models = [part for number in range(9) for part in ("--model", f"m{number}={smollm2_path}")]
    process = started(installed.command("serve", "--port", "0", "--no-optimize", *models), installed)
    assert process.stderr is not None
    assert process.stdout is not None
    with process, process.stderr as stderr, process.stdout as stdout:
        assert "Loading m0\n" == stderr.readline()
        process.terminate()
        assert 0 == process.wait(END)
        assert "" == stdout.read()
        assert "Traceback" not in stderr.read()


UNREADABLE = """
import sys, threading
from antiphon.cli import main
from antiphon.engine.models.tokenizer import Tokenizer

def wait(path):
    print("reading", flush=True)
    threading.Event().wait()

Tokenizer.open = wait
main(sys.argv[1:])
"""
"""A server whose vocabulary is never read."""


@pytest.mark.parametrize("phase", ["imports", "loads"])
def test_second_ctrl_c_does_not_wait_for_a_vocabulary(phase: str, installed: Installed, smollm2_path: Path) -> None:
    options = ["--model", str(smollm2_path), "--no-optimize", "--port", "0"]
    process = started([sys.executable, "-c", UNREADABLE, "serve", *options], installed)
    assert process.stderr is not None
    assert process.stdout is not None
    with process, process.stderr as stderr, process.stdout as stdout:
        assert "reading\n" == stdout.readline()
        if phase == "loads":
            assert "Loading smollm2-135m-instruct\n" == stderr.readline()
        assert -signal.SIGINT == interrupted(process)


def interrupted(process: "subprocess.Popen[str]") -> int:
    """Send SIGINT every half second until the process ends, and return its status."""
    for _ in range(20):
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            return process.wait(0.5)
    process.kill()
    return process.wait(END)


def test_garbage_collection_resumes_after_the_imports() -> None:
    with suppress(ImportError), without_garbage_collection():
        assert not gc.isenabled()
        raise ImportError
    gc.unfreeze()
    assert gc.isenabled()


def test_serve_loads_several_models_and_one_from_the_hub(serve: Serve, smollm2_path: Path, tmp_path: Path) -> None:
    hub = FakeHub({"Tiny.Q4_1.gguf": smollm2_path.read_bytes()})
    with running(hub) as endpoint:
        options = ("--model", "hf:org/tiny:q4_1", "--model", f"b={smollm2_path}", "--ctx-size", "256")
        variables = {"HF_ENDPOINT": endpoint, "ANTIPHON_CACHE_DIR": str(tmp_path / "cache"), "TQDM_POSITION": "-1"}
        with serve(*options, **variables) as server:
            listed = json.loads(paste(f"curl -s {server.url}/v1/models"))
            assert shlex.split(server.curl)[2].startswith(server.url)
            said = server.log.read_text()
    assert ["Tiny.Q4_1", "b"] == [model["id"] for model in listed["data"]]
    assert "Downloading hf:org/tiny:q4_1" in said
    assert "100%" in said, "huggingface_hub's own progress bar, which that variable shows without a terminal"


def test_port_in_use_is_an_error_before_the_model_is_loaded(installed: Installed) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        started = time.monotonic()
        done = installed.run("serve", "--port", str(taken.getsockname()[1]))
    assert (1, "") == (done.returncode, done.stdout)
    assert "Address already in use" in done.stderr
    assert "--port" in done.stderr
    assert "Loading" not in done.stderr
    assert time.monotonic() > started


def test_public_address_needs_keys(installed: Installed, tmp_path: Path) -> None:
    done = installed.run("serve", "--host", "0.0.0.0", "--port", "0", "--data-dir", str(tmp_path))  # noqa: S104
    assert (1, "") == (done.returncode, done.stdout)
    assert "there are no keys" in done.stderr
    assert "--allow-unauthenticated" in done.stderr
    assert "Loading" not in done.stderr


def test_first_key_closes_a_server_without_keys(serve: Serve, installed: Installed, tmp_path: Path) -> None:
    data = ("--data-dir", str(tmp_path / "data"))
    with serve(*data, "--ctx-size", "256") as server:
        assert "No key is needed" in server.log.read_text()
        assert "smollm2-135m-instruct" in paste(f"curl -s {server.url}/v1/models")
        key = installed.run("keys", "create", *data).stdout.strip()
        deadline = time.monotonic() + END
        while "invalid_api_key" not in paste(f"curl -s {server.url}/v1/models"):
            assert time.monotonic() < deadline, "the server stays open"
        assert "smollm2-135m-instruct" in installed.run("models", "--url", server.url, ANTIPHON_API_KEY=key).stdout
    with serve(*data, "--ctx-size", "256") as server:
        assert "Authorization: Bearer $ANTIPHON_API_KEY" in server.curl


def test_damaged_model_is_an_error_without_a_traceback(installed: Installed, tmp_path: Path) -> None:
    path = tmp_path / "damaged.gguf"
    path.write_bytes(b"GGUF and nothing that follows")
    done = installed.run("serve", "--port", "0", "--model", str(path))
    assert (1, "") == (done.returncode, done.stdout)
    assert "Error: The model damaged cannot be served" in done.stderr
    assert "Traceback" not in done.stderr


def test_model_with_an_invalid_context_length_is_an_error(installed: Installed, tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "damaged.gguf", context=2**32 - 1)
    done = installed.run("serve", "--port", "0", "--model", str(path))
    assert (1, "") == (done.returncode, done.stdout)
    assert f"Error: The model damaged cannot be served: {path} says that it was trained" in done.stderr
    assert "context of 4294967295 tokens" in done.stderr
    assert "Traceback" not in done.stderr


def test_mistyped_variable_is_an_error(installed: Installed) -> None:
    done = installed.run("serve", "--port", "0", ANTIPHON_HEARTBEAT_TIMOUT="60")
    assert (1, "") == (done.returncode, done.stdout)
    said = "Error: ANTIPHON_HEARTBEAT_TIMOUT is no variable of Antiphon.\nDid you mean ANTIPHON_HEARTBEAT_TIMEOUT?\n"
    assert said == done.stderr


def test_group_without_a_command_error_stays_whole() -> None:
    group = ExceptionGroup("tasks", [ExceptionGroup("inner", [ValueError("a fault")])])
    assert first_error(group) is group


def test_invalid_database_is_an_error_before_the_model_is_loaded(installed: Installed) -> None:
    done = installed.run("serve", "--port", "0", "--database", "mysql://localhost/x")
    assert (1, "") == (done.returncode, done.stdout)
    assert "must begin with postgresql://" in done.stderr
    assert "Loading" not in done.stderr


def test_bound_address_accepts_no_connection_yet() -> None:
    with bind(ServerOptions(port=0)) as listener, pytest.raises(ConnectionRefusedError):
        socket.create_connection(listener.getsockname())


@pytest.mark.parametrize("host", ["256.0.0.1", "203.0.113.1"])
def test_address_of_another_machine_is_refused(host: str) -> None:
    with pytest.raises(CommandError, match=f"Cannot listen on {host}:0"):
        bind(ServerOptions(host=host, port=0))


def test_ipv6_address_is_bound() -> None:
    with bind(ServerOptions(host="::1", port=0)) as listener:
        assert listener.family == socket.AF_INET6


def test_missing_model_ends_with_status_1(installed: Installed) -> None:
    done = installed.run("serve", "--port", "0", "--model", "/none.gguf")
    assert (1, "", "Error: The model /none.gguf cannot be read: No such file or directory.\n") == (
        done.returncode,
        done.stdout,
        done.stderr,
    )
