"""The inputs that once took the server down, or kept it from everybody else, against a server as it is installed."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

from soak.hostile import REQUESTS
from tests.conformance.conftest import MODEL, WAIT
from tests.conftest import Installed, LiveServer, serving

MEBIBYTE: Final = 1 << 20
MAX_GROWTH: Final = 400 * MEBIBYTE
"""Resident memory that the server and all its processes may gain over all requests: one of them took 7 GB by itself."""


@pytest.fixture(scope="module")
def server(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Serve the bundled model with a context that no long prompt fits in, so that nothing is decoded for long."""
    folder = tmp_path_factory.mktemp("hostile")
    options = ("--log-level", "warning", "--ctx-size", "1024", "--data-dir", str(folder / "data"))
    with serving(installed, folder / "log", *options) as server:
        yield server


@pytest.fixture(scope="module")
def http(server: LiveServer) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server.url, timeout=WAIT) as http:
        yield http


def post(http: httpx2.Client, fields: dict[str, Any]) -> httpx2.Response:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_completion_tokens": 4, **fields}
    return http.post("/v1/chat/completions", json=body)


def memory(process: int) -> int:
    """Resident bytes of a process and of all that it has started, what they share counted once."""
    return sum(_proportional(pid) for pid in _family(process))


def _family(process: int) -> Iterator[int]:
    yield process
    for task in Path(f"/proc/{process}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from _family(int(child))


def _proportional(process: int) -> int:
    rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
    return int(rollup.split("\nPss:")[1].split()[0]) * 1024


@pytest.mark.parametrize("make", REQUESTS, ids=range(len(REQUESTS)))
def test_a_hostile_request_is_answered_or_refused(http: httpx2.Client, make: Callable[[], dict[str, Any]]) -> None:
    answer = post(http, make())
    assert answer.status_code in {200, 400, 413}, answer.text
    assert (200, None) == ((again := post(http, {})).status_code, again.json().get("error"))


def test_all_of_them_together_leave_the_server_as_it_was(server: LiveServer, http: httpx2.Client) -> None:
    before = memory(server.process.pid)
    statuses = [post(http, make()).status_code for make in REQUESTS]
    assert {200, 400, 413} >= set(statuses), statuses
    assert MAX_GROWTH > memory(server.process.pid) - before
    model = http.get("/health").json()["models"][0]
    assert ("ready", 0, 0) == (model["status"], model["restarts"], model["preparing"]["running"])
