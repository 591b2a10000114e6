"""A server on a real socket whose model says a scripted text in each turn, for the helpers of the official SDKs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from antiphon.backends.local import LocalBackend
from antiphon.config import ServerOptions
from antiphon.engine.interface import Started
from antiphon.protocol.fields import fields_of
from antiphon.routing.router import Router
from antiphon.server.app import create_app
from antiphon.service import Service
from tests.conformance.observations import DirectRenderer, call
from tests.scripted_engine import ByteVocabulary, ScriptedEngine, ends, says
from tests.server.conftest import running

MODEL = "scripted"
STRUCTURED = '{"city": "Rome"}'
CALLS = call("find", city="Rome") + "\n" + call("find", city="Oslo")


@contextmanager
def saying(texts: Sequence[str]) -> Iterator[str]:
    """Serve a model that says one text after the other; yield the base URL of the API."""
    scripts = [[Started(request_id="", cached_tokens=0), *says(text), *ends()] for text in texts]
    backend = LocalBackend(ScriptedEngine(scripts=scripts), ByteVocabulary(), DirectRenderer())
    app = create_app(Service(Router({MODEL: [backend]})), ServerOptions())
    with running(app) as port:
        yield f"http://127.0.0.1:{port}/v1"


def added(bodies: Sequence[dict[str, Any]]) -> set[str]:
    """Return the paths of members of the messages that are neither null nor fields that this server honours."""
    honoured = {field.path for field in fields_of("request") if field.status == "honoured"}
    return {path for body in bodies for path in _paths(body["messages"], "messages")} - honoured


def _paths(value: object, path: str) -> Iterator[str]:
    """Give the paths of all members that are not null, but not of those inside a member that no request has."""
    known = {field.path for field in fields_of("request") if field.status == "honoured"}
    if isinstance(value, list):
        for item in value:
            yield from _paths(item, f"{path}[]")
    elif isinstance(value, dict):
        for name, member in value.items():
            inner = f"{path}.{name}"
            if member is not None:
                yield inner
            if inner in known:
                yield from _paths(member, inner)
