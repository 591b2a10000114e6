"""uvicorn's settings; test_serve.py runs whole servers."""

import pytest
from starlette.applications import Starlette

from antiphon.cli.serving import check_ignored_fields, uvicorn_config
from antiphon.console.command_error import CommandError
from antiphon.server.http_protocol import HTTPProtocol


def test_connections_use_our_http_protocol() -> None:
    protocol = uvicorn_config(Starlette(), 7.0).http
    assert isinstance(protocol, type)
    assert issubclass(protocol, HTTPProtocol)


def test_write_timeout_is_set_on_connections() -> None:
    assert 7.0 == getattr(uvicorn_config(Starlette(), 7.0).http, "write_timeout", None)


def test_field_of_requests_cannot_be_ignored() -> None:
    with pytest.raises(CommandError, match="--ignore-field temperature: it is a field of requests"):
        check_ignored_fields(("keep_alive", "temperature"))


def test_unknown_field_may_be_ignored() -> None:
    check_ignored_fields(("keep_alive",))
