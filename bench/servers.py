"""Starts the servers that are compared, each in a process on loopback, and ends them."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO, Final, Self

from msgspec import Struct
from rich.console import Console

from antiphon.config import cache_dir
from antiphon.load_testing.load import Target
from antiphon.model_files.model_sources import bundled_model
from antiphon.model_files.optimized_models import DEFAULT_TYPE, OptimizedModels
from bench import native_peer

START_TIMEOUT: Final = 180.0
"""Seconds within which a server must answer."""
_END_TIMEOUT: Final = 20.0
_LAST_BYTES: Final = 2000
MODEL_NAME: Final = "bench"

Command = Callable[[int], list[str]]
"""Returns the command line that serves on a port."""


class ServerError(Exception):
    """A server did not start or has ended."""


class Capacity(Struct, frozen=True):
    """The settings of both servers. 0 is the server's default."""

    threads: int
    streams: int
    ctx_size: int = 0


class Kind(Struct, frozen=True):
    """A kind of server: its command, and its description in the report."""

    name: str
    note: str
    command: Command
    environment: dict[str, str] = {}


class Server:
    """One server process. Start it before the first request and close it at the end."""

    def __init__(self, kind: Kind, fields: dict[str, object] | None = None) -> None:
        self.kind = kind
        self._fields = dict(fields or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._log: BinaryIO | None = None
        self.port = 0

    @property
    def target(self) -> Target:
        """The server's address and model."""
        return Target(host="127.0.0.1", port=self.port, model=MODEL_NAME, fields=self._fields)

    @property
    def pid(self) -> int:
        """The id of the server's first process; it may have children."""
        assert self._process is not None, f"{self.kind.name} is started"
        return self._process.pid

    def launch(self) -> None:
        """Start the process without waiting for it."""
        self.close()
        self.port = free_port()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the server)
        self._process = subprocess.Popen(  # noqa: S603 (our own command)
            self.kind.command(self.port),
            stdout=self._log,
            stderr=self._log,
            env={**os.environ, **self.kind.environment},
            start_new_session=True,
        )

    def start(self) -> Self:
        """Start the process and wait until it answers. Raises :class:`ServerError`."""
        self.launch()
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            self.check()
            address = f"http://127.0.0.1:{self.port}/health"
            with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=2):
                return self
            time.sleep(0.05)
        raise ServerError(f"{self.kind.name} did not answer within {START_TIMEOUT:.0f} s: {self._last_output()}")

    def check(self) -> None:
        """Raise :class:`ServerError` when the process has ended."""
        if self._process is None or self._process.poll() is not None:
            status = self._process and self._process.returncode
            raise ServerError(f"{self.kind.name} has ended with {status}: {self._last_output()}")

    def ensure(self) -> None:
        """Start the process again when it has ended."""
        try:
            self.check()
        except ServerError:
            self.start()

    def close(self) -> None:
        """End the process and its children."""
        process, self._process = self._process, None
        log, self._log = self._log, None
        if log is not None:
            log.close()
        if process is None:
            return
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_TIMEOUT)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def _last_output(self) -> str:
        if self._log is None:
            return ""
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - _LAST_BYTES))
        return self._log.read().decode(errors="replace").strip()


def served_model(path: str) -> str:
    """Return the model file of an option, or the default one of ``antiphon serve``: the bundled model's copy."""
    if path:
        return path
    source = bundled_model()
    if source is None:
        raise ServerError("the package of the bundled model is not installed")
    return str(OptimizedModels(cache_dir()).make(source.path, DEFAULT_TYPE, name=source.name).path)


def free_port() -> int:
    """Return a free port of loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def antiphon(model: str, capacity: Capacity, data_dir: Path) -> Kind:
    """Return this project's server."""

    def command(port: int) -> list[str]:
        options = {
            "--model": f"{MODEL_NAME}={model}",
            "--port": port,
            "--threads": capacity.threads,
            "--ctx-size": capacity.ctx_size,
            "--max-num-seqs": max(capacity.streams, 32),
            "--data-dir": data_dir,
            "--log-level": "warning",
        }
        return [sys.executable, "-m", "antiphon", "serve", *_arguments(options)]

    return Kind("antiphon", "this checkout", command)


def llama_server(model: str, capacity: Capacity, console: Console, *, wheel: bool = False) -> Kind:
    """Return llama.cpp's server, compiled for this machine; with ``wheel``, or without a compiler, that of xllamacpp.

    Raises :class:`ServerError` when there is neither.
    """
    if wheel:
        return _wheel(model, capacity)
    try:
        return _native(native_peer.find_or_build(console), model, capacity)
    except native_peer.CannotBuildError as error:
        if find_spec("xllamacpp") is None:
            raise ServerError(f"llama.cpp's server cannot be compiled, and there is no xllamacpp: {error}") from error
        console.print(f"llama.cpp's server cannot be compiled, so that of xllamacpp is measured: {error}")
        return _wheel(model, capacity)


def _native(binary: Path, model: str, capacity: Capacity) -> Kind:
    options = {
        "--model": model,
        "--alias": MODEL_NAME,
        "--host": "127.0.0.1",
        "--threads": capacity.threads,
        "--threads-batch": capacity.threads,
        "--parallel": capacity.streams,
        "--flash-attn": "on",
        "--ctx-size": capacity.ctx_size,
    }
    flags = ["--kv-unified", "--no-webui"]
    version = native_peer.pinned_version()
    shown = " ".join(["--flash-attn on", "--parallel", str(capacity.streams), *flags])
    note = (
        f"llama-server compiled for this machine (GGML_NATIVE) from the source of llama-cpp-python {version}; {shown}, "
        "everything else by default, with its prompt cache"
    )
    return Kind("llama.cpp", note, lambda port: [str(binary), *_arguments({**options, "--port": port}), *flags])


def _wheel(model: str, capacity: Capacity) -> Kind:
    settings = [model, capacity.threads, capacity.streams, capacity.ctx_size]

    def command(port: int) -> list[str]:
        return [sys.executable, "-m", "bench.peer", str(port), *map(str, settings)]

    note = "llama.cpp's server of the wheel xllamacpp, compiled without this processor's newest instructions"
    return Kind("llama.cpp", note, command)


def _arguments(options: dict[str, object]) -> list[str]:
    return [str(part) for option in options.items() for part in option]


def processes(pid: int) -> list[int]:
    """Return the ids of a process and of its descendants."""
    found = [pid]
    for each in found:
        for children in Path(f"/proc/{each}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += map(int, children.read_text().split())
    return found
