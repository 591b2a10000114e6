"""The one log line of a request: every layer adds its fields, the outermost writes the line.

The server opens a line. Code and tasks inside the request find it by a context variable, so that the service need not
know HTTP, nor the server the service's records.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, Literal

import structlog

from antiphon.errors import APIError

Outcome = Literal["completed", "failed", "cancelled"]

_current: ContextVar["RequestLine | None"] = ContextVar("request_line", default=None)

EVENT: Final = "request"

logger = structlog.get_logger(__name__)


class RequestLine:
    """The fields of a request's line so far. A later value replaces an earlier one."""

    def __init__(self) -> None:
        self.fields: dict[str, object] = {}

    def add(self, **fields: object) -> None:
        """Add fields."""
        self.fields.update(fields)

    def fail(self, error: Exception) -> None:
        """Set the outcome ``failed`` and the error, unless an inner layer has set an error."""
        if self.fields.get("error") is None:
            self.add(outcome="failed", error=error_name(error))

    def conclude(self, outcome: Outcome, error: str | None = None) -> None:
        """Set the outcome and the error, unless an outcome is set."""
        if "outcome" not in self.fields:
            self.add(outcome=outcome, error=error)

    def write(self, *, quiet: bool = False) -> None:
        """Log the line: at info level, or at debug level if ``quiet``."""
        (logger.debug if quiet else logger.info)(EVENT, **self.fields)


def error_name(error: Exception) -> str:
    """Return the name of an error for logs: its code, or its class when it has none or is no ``APIError``."""
    return (error.code if isinstance(error, APIError) else None) or type(error).__name__


@contextmanager
def request_line() -> Iterator[RequestLine]:
    """Open the line of a request for the block and the tasks that it starts; the caller writes the line."""
    line = RequestLine()
    token = _current.set(line)
    try:
        yield line
    finally:
        _current.reset(token)


def current_line() -> RequestLine | None:
    """Return the line of the current request; None outside a request, as in ``antiphon chat``."""
    return _current.get()
