"""Interfaces for spans without OpenTelemetry, so that other layers record spans whether or not traces are sent."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Protocol

from msgspec import Struct

Attribute = str | bool | int | float | Sequence[str]


class FinishedSpan(Struct, frozen=True, kw_only=True):
    """A part of a request that has ended."""

    name: str
    attributes: Mapping[str, Attribute]
    duration: float
    """Seconds from its beginning to the moment it is recorded."""
    events: Mapping[str, float] = {}
    """Seconds from the beginning of the span to each event, by the event's name."""
    error: str | None = None
    """``error.type`` of the semantic conventions; None without an error."""


class RequestSpan(Protocol):
    """The span of a running request. Its methods never raise or wait, even when traces cannot be sent."""

    @property
    def ids(self) -> Mapping[str, str]:
        """``trace_id`` and ``span_id`` in hexadecimal, for logs."""

    def describe(self, name: str, attributes: Mapping[str, Attribute], error: str | None = None) -> None:
        """Set the name, the attributes and the error (None: no error) at the end of the request."""

    def record(self, span: FinishedSpan) -> None:
        """Add a child span for a part of the request."""


class Tracer(Protocol):
    """Opens the spans of requests."""

    def request(self, headers: Mapping[str, str]) -> AbstractContextManager[RequestSpan]:
        """Open a request's span for the block; ``headers`` may have ``traceparent`` and ``tracestate``."""


_current: ContextVar[RequestSpan | None] = ContextVar("request_span", default=None)


@contextmanager
def serving_span(span: RequestSpan) -> Iterator[None]:
    """Make ``span`` the current request's, for the block and the tasks that it starts."""
    token = _current.set(span)
    try:
        yield
    finally:
        _current.reset(token)


def current_span() -> RequestSpan | None:
    """Return the span of the current request; None without traces."""
    return _current.get()
