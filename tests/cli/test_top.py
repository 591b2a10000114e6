import io
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from rich.console import Console

from antiphon.cli import create_cli
from antiphon.cli.scrape import Scrape
from antiphon.cli.top import History
from antiphon.console import display
from antiphon.console.command_error import CommandError
from antiphon.telemetry.catalogue import READY
from antiphon.telemetry.metrics import Metrics, Reading

METRICS = Metrics(lambda: [Reading(READY, ("m",), 1)])


class Pages(BaseHTTPRequestHandler):
    """Serves the metrics below / and an error below /other."""

    def do_GET(self) -> None:
        found = self.path == "/metrics"
        self.send_response(200 if found else 404)
        self.end_headers()
        self.wfile.write(METRICS.page().body if found else b"")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base's name)
        """Say nothing."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Pages) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def run(*arguments: str) -> None:
    create_cli()(["top", "--interval", "0.01", *arguments])


def test_top_in_a_pipe_prints_one_snapshot(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    run("--url", url)
    out = capsys.readouterr().out
    assert (1, True) == (out.count("ready · 0 restarts"), f"{url}, rates of 0.01 s, latencies since its start" in out)


def test_top_on_a_terminal_updates_until_it_is_interrupted(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    looks = iter(range(3))

    async def sleep(_seconds: float) -> None:
        if next(looks, None) is None:
            raise KeyboardInterrupt

    monkeypatch.setattr(display, "out", lambda: console)
    monkeypatch.setattr("antiphon.cli.top.anyio.sleep", sleep)
    run("--url", url)
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().count("Ctrl-C ends") >= 3


def test_unreachable_server_is_shown_and_polled_again(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    pages = iter([CommandError("It has gone."), KeyboardInterrupt()])

    async def scrape(_client: object) -> Scrape:
        if (page := next(first, None)) is not None:
            return page
        raise next(pages)

    first = iter([Scrape.parse(METRICS.page().body.decode(), 0.0)])
    monkeypatch.setattr(display, "out", lambda: console)
    monkeypatch.setattr("antiphon.cli.top.scrape", scrape)
    run("--url", url)
    assert isinstance(console.file, io.StringIO)
    assert "It has gone." in console.file.getvalue()


def test_history_keeps_the_pages_of_one_minute() -> None:
    text = METRICS.page().body.decode()
    history = History("http://there", Scrape.parse(text, 0.0))
    for time in (20.0, 40.0, 60.0, 80.0, 100.0):
        history.add(Scrape.parse(text, time))
    assert [40.0, 60.0, 80.0, 100.0] == [scrape.time for scrape in history._scrapes]


def test_history_keeps_two_pages_that_are_far_apart() -> None:
    text = METRICS.page().body.decode()
    history = History("http://there", Scrape.parse(text, 0.0))
    for time in (500.0, 1000.0):
        history.add(Scrape.parse(text, time))
    assert [500.0, 1000.0] == [scrape.time for scrape in history._scrapes]


def test_unreachable_server_at_the_start_is_an_error() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(CommandError, match="cannot be reached"):
            run("--url", address)


def test_server_without_metrics_is_an_error(url: str) -> None:
    with pytest.raises(CommandError, match="has no metrics: it answers 404"):
        run("--url", f"{url}/other")


def test_invalid_address_is_an_error() -> None:
    with pytest.raises(CommandError, match="is not an address"):
        run("--url", "there")
