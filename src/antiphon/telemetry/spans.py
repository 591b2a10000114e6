"""What traces are made of, without OpenTelemetry: those who tell of requests need not know whether anybody listens."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Protocol

from msgspec import Struct

Attribute = str | bool | int | float | Sequence[str]


class FinishedSpan(Struct, frozen=True, kw_only=True):
    """A part of a request, told when it is over."""

    name: str
    attributes: Mapping[str, Attribute]
    duration: float
    """Seconds, up to now."""
    events: Mapping[str, float] = {}
    """Seconds from the beginning, by name."""
    error: str | None = None
    """``error.type`` of the conventions, None when all went well."""


class RequestSpan(Protocol):
    """The span of a request that is being served. Nothing here raises or waits, whatever becomes of the trace."""

    @property
    def ids(self) -> Mapping[str, str]:
        """``trace_id`` and ``span_id`` in hexadecimal, for logs."""

    def describe(self, name: str, attributes: Mapping[str, Attribute], error: str | None = None) -> None:
        """Say what it was, at its end; ``error`` makes it a failed one."""

    def record(self, span: FinishedSpan) -> None:
        """Add a part of the request."""


class Tracer(Protocol):
    """Where spans go."""

    def request(self, headers: Mapping[str, str]) -> AbstractContextManager[RequestSpan]:
        """Open a request's span for the block; ``headers`` may hold ``traceparent`` and ``tracestate``."""


_current: ContextVar[RequestSpan | None] = ContextVar("request_span", default=None)


@contextmanager
def serving(span: RequestSpan) -> Iterator[None]:
    """Make it the span of the request at hand, for the block and the tasks that it starts."""
    token = _current.set(span)
    try:
        yield
    finally:
        _current.reset(token)


def current_span() -> RequestSpan | None:
    """Return the span of the request at hand, None where nobody traces."""
    return _current.get()
