"""uvicorn's settings; test_serve.py runs whole servers."""

from starlette.applications import Starlette

from antiphon.cli.serving import uvicorn_config
from antiphon.server.http_protocol import HTTPProtocol


def test_connections_use_our_http_protocol() -> None:
    protocol = uvicorn_config(Starlette(), 7.0).http
    assert isinstance(protocol, type)
    assert issubclass(protocol, HTTPProtocol)


def test_write_timeout_is_set_on_connections() -> None:
    assert 7.0 == getattr(uvicorn_config(Starlette(), 7.0).http, "write_timeout", None)
