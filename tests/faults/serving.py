"""``antiphon serve`` in a process of its own over tiny models, to be harmed: its engines, its files, itself."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import msgspec
from msgspec import Struct

from antiphon.service.health import Health
from tests.conftest import END, START
from tests.server.conftest import NO_TLS

HOST = "127.0.0.1"
END_OF_TURN = {"2": -100}
"""A bias that bans the tiny model's end-of-generation token: its answers are as long as they may be."""
HANG = 30.0
"""Seconds that anything may take before a test gives up."""


class Faulty(Struct):
    """The running server and a client of it."""

    process: "subprocess.Popen[str]"
    url: str
    port: int
    log: Path
    http: httpx2.Client

    def worker(self, path: Path) -> int:
        """Give the process id of the engine that has mapped the model file."""
        return next(pid for pid in self._children() if str(path) in Path(f"/proc/{pid}/maps").read_text())

    def _children(self) -> Iterator[int]:
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            yield from map(int, (task / "children").read_text().split())

    def health(self) -> Health:
        """Ask for it."""
        return msgspec.json.decode(self.http.get("/health").content, type=Health)

    def ask(self, model: str, **fields: Any) -> httpx2.Response:  # noqa: ANN401 (fields of the request)
        """Ask for a whole answer, of four tokens unless told."""
        return self.http.post("/v1/chat/completions", json=body(model, **fields))

    @contextmanager
    def stream(self, model: str, **fields: Any) -> Iterator["Stream"]:  # noqa: ANN401 (fields of the request)
        """Ask for a streamed answer; it has begun when the block is entered."""
        with self.http.stream("POST", "/v1/chat/completions", json=body(model, stream=True, **fields)) as answer:
            assert 200 == answer.status_code
            stream = Stream(answer.iter_lines())
            assert stream.next() is not None
            yield stream

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for what the server does by itself."""
        deadline = time.monotonic() + HANG
        while not condition():
            assert time.monotonic() < deadline, f"the condition never came true; {self.log.read_text()[-2000:]}"
            time.sleep(0.1)

    def end(self) -> int:
        """Wait for the end; give the exit status."""
        return self.process.wait(END)


class Stream:
    """The events of a streamed answer."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines

    def next(self) -> Any:  # noqa: ANN401 (JSON)
        """Give the next event's data, None at the end of the stream."""
        for line in self._lines:
            if line.startswith("data: "):
                data = line.removeprefix("data: ")
                return data if data == "[DONE]" else msgspec.json.decode(data)
        return None

    def rest(self) -> list[Any]:
        """Give the data of all events that are left."""
        return list(iter(self.next, None))


def body(model: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 (fields of the request)
    """Make a request whose answer ends at its length only."""
    question = {"model": model, "messages": [{"role": "user", "content": "the"}]}
    return {**question, "max_completion_tokens": 4, "logit_bias": END_OF_TURN, **fields}


@contextmanager
def faulty(folder: Path, *arguments: str) -> Iterator[Faulty]:
    """Run the server until the block ends, its data and its log in ``folder``."""
    command = [sys.executable, "-m", "antiphon", "serve", "--port", "0", "--data-dir", str(folder / "data")]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ANTIPHON_")}
    log = folder / "log"
    with log.open("w") as stderr:
        process = subprocess.Popen(  # noqa: S603 (our own command)
            [*command, "--ctx-size", "512", "--threads", "1", "--log-level", "warning", *arguments],
            env=environ,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    assert process.stdout is not None
    try:
        found = re.search(rf"http://{re.escape(HOST)}:(\d+)", process.stdout.readline())
        assert found, log.read_text()
        with httpx2.Client(base_url=found[0], timeout=START, trust_env=False, verify=NO_TLS) as http:
            yield Faulty(process, found[0], int(found[1]), log, http)
    finally:
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(END)
        finally:
            process.kill()
            process.stdout.close()
