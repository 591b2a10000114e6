"""What listens; runs of the whole server are in test_serve.py."""

from starlette.applications import Starlette

from antiphon.cli.serving import uvicorn_config
from antiphon.server.http_protocol import HTTPProtocol


def test_what_comes_before_a_request_is_bounded() -> None:
    protocol = uvicorn_config(Starlette(), 7.0).http
    assert isinstance(protocol, type)
    assert issubclass(protocol, HTTPProtocol)


def test_how_long_a_client_may_read_nothing_reaches_the_connections() -> None:
    assert 7.0 == getattr(uvicorn_config(Starlette(), 7.0).http, "write_timeout", None)
