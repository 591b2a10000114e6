"""uvicorn's settings; test_serve.py runs whole servers."""

import pytest
from starlette.applications import Starlette

from antiphon.cli.serving import check_ignored_fields, uvicorn_config
from antiphon.config import ServerOptions
from antiphon.console.command_error import CommandError
from antiphon.server.http_protocol import HTTPProtocol
from tests.scripted_engine import ScriptedEngine
from tests.server.conftest import connect, running_with, scripted_app
from tests.server.raw_http import BODY, STREAM, answers, post


def test_connections_use_our_http_protocol() -> None:
    protocol = uvicorn_config(Starlette(), ServerOptions()).http
    assert isinstance(protocol, type)
    assert issubclass(protocol, HTTPProtocol)


def test_write_timeout_is_set_on_connections() -> None:
    options = ServerOptions(write_timeout=7.0)
    assert 7.0 == getattr(uvicorn_config(Starlette(), options).http, "write_timeout", None)


def test_idle_connection_stays_open_for_75_seconds() -> None:
    assert 75.0 == uvicorn_config(Starlette(), ServerOptions()).timeout_keep_alive


def test_idle_connection_is_closed_after_the_keep_alive_timeout() -> None:
    config = uvicorn_config(scripted_app(ScriptedEngine()), ServerOptions(keep_alive_timeout=0.3))
    with running_with(config) as port, connect(port) as client:
        client.sendall(post(BODY) + post(STREAM))
        received = b""
        while data := client.recv(65536):
            received += data
    assert [200, 200] == [answer.status for answer in answers(received)]


def test_field_of_requests_cannot_be_ignored() -> None:
    with pytest.raises(CommandError, match="--ignore-field temperature: it is a field of requests"):
        check_ignored_fields(("keep_alive", "temperature"))


def test_unknown_field_may_be_ignored() -> None:
    check_ignored_fields(("keep_alive",))
