"""Completions that clients received are stored: the server is killed at random moments under eight clients."""

import os
import random
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest

from antiphon.store.completions import CompletionStore
from tests.databases import Site
from tests.server.conftest import MODEL, NO_TLS, WAIT
from tests.store.rows import PROJECT

pytestmark = pytest.mark.anyio

ROUNDS = int(os.environ.get("ANTIPHON_TEST_KILLS", "6"))
ROOT = Path(__file__).parents[2]
CLIENTS = 8
START = 60.0
"""Seconds that the server may take to start on a busy machine."""
ASKING = 0.7
"""Seconds for which the clients ask at most before the server is killed."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def ask(url: str, number: int, received: list[str]) -> None:
    """Ask until the server is gone; note the id of every answer that came to its end, in turn whole and streamed."""
    with suppress(httpx2.HTTPError), httpx2.Client(base_url=url, timeout=WAIT, trust_env=False, verify=NO_TLS) as http:
        for turn in range(number, 10**6):
            stream = turn % 2 == 0
            messages = [{"role": "user", "content": f"Message {turn}"}]
            body = {"model": MODEL, "messages": messages, "store": True, "stream": stream, "metadata": {"n": "1"}}
            answer = http.post("/v1/chat/completions", json=body)
            assert 200 == answer.status_code, answer.text
            if stream and "[DONE]" in answer.text:
                received.append(answer.text.split('"id":"')[1].split('"')[0])
            elif not stream:
                received.append(answer.json()["id"])


def ask_and_kill(site: Site, moment: float) -> list[str]:
    """Run a server and its clients; kill it ``moment`` seconds after the first answer. Give the ids of the answers."""
    port, received = free_port(), list[str]()
    command = [sys.executable, "-m", "tests.server.killed_server", site.url or "", str(site.data_dir), str(port)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)  # noqa: S603 (our own)
    url = f"http://127.0.0.1:{port}"
    clients = [threading.Thread(target=ask, args=(url, number, received)) for number in range(CLIENTS)]
    try:
        wait_until_up(port)
        for client in clients:
            client.start()
        deadline = time.monotonic() + START
        while not received:
            assert time.monotonic() < deadline, "no answer came"
            time.sleep(0.01)
        time.sleep(moment)
    finally:
        process.kill()
        process.wait()
    for client in clients:
        client.join(WAIT)
    return received


def wait_until_up(port: int) -> None:
    deadline = time.monotonic() + START
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise AssertionError("the server did not start")


async def test_every_answer_that_a_client_received_is_there_afterwards(site: Site, dialect: str) -> None:
    rounds = ROUNDS if dialect == "sqlite" else max(ROUNDS // 3, 1)
    moments = random.Random(8)  # noqa: S311 (moments, no secrets)
    received: list[str] = []
    for _ in range(rounds):
        received += ask_and_kill(site, moments.random() * ASKING)
        async with site.open() as database:
            assert [] == await database.check()
    async with site.open() as database:
        store = CompletionStore(database)
        for identifier in received:
            stored = await store.get(PROJECT, identifier)
            assert ("stop", {"n": "1"}) == (stored.choices[0].finish_reason, stored.metadata)
            assert 1 == len((await store.messages(PROJECT, identifier)).data)
    assert rounds * CLIENTS <= len(received) == len(set(received))
