"""The benchmark's share of right tool calls."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import msgspec
import pytest

from antiphon.load_testing.load import LoadError, Target
from bench.tool_calls import CASES, TOOLS, calls_of, is_right, normalised

NAMES = {tool["function"]["name"]: tool["function"]["parameters"] for tool in TOOLS}


class _Server(HTTPServer):
    body = b"{}"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        assert isinstance(self.server, _Server)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server(("127.0.0.1", 0), _Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield listening
        listening.shutdown()
        thread.join()


def target(server: _Server) -> Target:
    return Target(host="127.0.0.1", port=server.server_port, model="m")


def answered(*calls: tuple[str, str]) -> bytes:
    message = {"tool_calls": [{"function": {"name": name, "arguments": arguments}} for name, arguments in calls]}
    return msgspec.json.encode({"choices": [{"message": message}]})


def test_every_expected_call_is_valid_for_its_function() -> None:
    for case in CASES:
        for name, arguments in case.calls:
            assert set(NAMES[name]["required"]) == set(arguments)


@pytest.mark.parametrize(
    ("expected", "calls"),
    [
        (True, [("get_weather", '{"city": "PARIS"}')]),
        (False, [("get_weather", '{"city": "Rome"}')]),
        (False, [("get_weather", '{"city": "Paris", "unit": "c"}')]),
        (False, [("get_weather", '{"city": "Paris"}')] * 2),
        (False, [("add", '{"city": "Paris"}')]),
        (False, []),
    ],
)
def test_answer_is_right_if_its_calls_are_the_expected_ones(
    server: _Server,
    expected: bool,  # noqa: FBT001 (a table's column)
    calls: list[tuple[str, str]],
) -> None:
    server.body = answered(*calls)
    assert expected == is_right(target(server), CASES[0])


def test_server_without_a_message_is_an_error(server: _Server) -> None:
    with pytest.raises(LoadError, match="got no message"):
        is_right(target(server), CASES[0])


def test_arguments_that_are_no_json_object_are_empty() -> None:
    message = {"tool_calls": [{"function": {"name": "add", "arguments": text}} for text in ('{"a"', "[1]")]}
    assert (("add", {}), ("add", {})) == calls_of(message)
    assert [] == normalised(calls_of({"tool_calls": None}))
