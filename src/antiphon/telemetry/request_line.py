"""The one line that is logged about a request: every layer adds what it knows, the outermost writes it.

The server opens a line; whatever runs inside it, tasks that it starts included, finds it by a context variable and adds
to it. The service need not know of HTTP for that, nor the server of what an answer cost.
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
    """The fields of a request's line so far. What is added later wins."""

    def __init__(self) -> None:
        self.fields: dict[str, object] = {}

    def add(self, **fields: object) -> None:
        """Add fields."""
        self.fields.update(fields)

    def fail(self, error: Exception) -> None:
        """Say that it failed; what a layer further inside has said of it is kept."""
        if self.fields.get("error") is None:
            self.add(outcome="failed", error=error_name(error))

    def conclude(self, outcome: Outcome, error: str | None = None) -> None:
        """Say how it ended, unless that is known."""
        if "outcome" not in self.fields:
            self.add(outcome=outcome, error=error)

    def write(self, *, quiet: bool = False) -> None:
        """Log it, ``quiet`` at debug level."""
        (logger.debug if quiet else logger.info)(EVENT, **self.fields)


def error_name(error: Exception) -> str:
    """Name an error in logs: by its code, or by its class when it has none or is none of ours."""
    return (error.code if isinstance(error, APIError) else None) or type(error).__name__


@contextmanager
def request_line() -> Iterator[RequestLine]:
    """Open the line of a request, for the block and the tasks that it starts; the caller writes it."""
    line = RequestLine()
    token = _current.set(line)
    try:
        yield line
    finally:
        _current.reset(token)


def current_line() -> RequestLine | None:
    """Return the line of the request at hand, or None where nobody has opened one, as in ``antiphon chat``."""
    return _current.get()
