"""One server with the bundled model, for clients that other people wrote."""

from collections.abc import Iterator

import pytest
from openai import OpenAI

from tests.conftest import Installed, LiveServer, serving

MODEL = "smollm2-135m-instruct"
WAIT = 120.0
"""Seconds that an answer may take on a busy machine."""


@pytest.fixture(scope="session")
def server(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Serve the bundled model with room for several conversations with tools."""
    folder = tmp_path_factory.mktemp("conformance")
    options = ("--log-level", "warning", "--ctx-size", "4096", "--data-dir", str(folder / "data"))
    with serving(installed, folder / "log", *options) as server:
        yield server


@pytest.fixture(scope="session")
def client(server: LiveServer) -> Iterator[OpenAI]:
    """The official client of that server, without its repetitions."""
    with OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0, timeout=WAIT) as client:
        yield client
