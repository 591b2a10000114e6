"""Logs: one structlog pipeline for our own events and for the libraries' (uvicorn's, for example).

Lines go to stderr; stdout is for the output of commands. An event has a name, ids, counts and durations. Clients' keys
are never logged. Texts of users and models are not logged either, unless the operator enables texts of exceptions and
an exception quotes one.
"""

import logging
import re
import sys
from typing import IO, Final, Literal

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from antiphon.telemetry.exception_texts import EXCEPTION_TEXTS
from antiphon.telemetry.tracebacks import stacks_for, text_for

LogLevel = Literal["debug", "info", "warning", "error", "critical"]

SECRET = frozenset({"api_key", "authorization", "body", "content", "cookie", "headers", "messages", "prompt", "token"})
"""Fields of events whose values are never logged."""
KEY: Final = re.compile(r"(?<![A-Za-z0-9])sk-[A-Za-z0-9_-]{8,}")
"""An API key: ours, or one of another service, which clients send by mistake."""
MASK: Final = "[key]"
CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Characters that move a terminal's cursor, break a line or change the direction of writing."""


REPRESENTATION: Final = re.compile(r"\(|\n| exception=| result=")
"""The beginning of objects in asyncio's messages: arguments of callbacks, results and exceptions of tasks."""


def configure_logging(
    level: LogLevel = "info",
    *,
    json: bool | None = None,
    exception_texts: bool = False,
    stream: IO[str] | None = None,
) -> None:
    """Send structlog's and the standard library's events through one pipeline; a second call replaces the first.

    ``json`` chooses between JSON lines and text for people; None means text on a terminal and JSON elsewhere. An
    exception is logged with its type and stack, and with its text if ``exception_texts``: a text may quote a user.
    """
    EXCEPTION_TEXTS.shown = exception_texts
    stream = sys.stderr if stream is None else stream
    json = not stream.isatty() if json is None else json
    handler = logging.StreamHandler(stream)
    rendering = _rendering(json=json, exception_texts=exception_texts)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_shared() if exception_texts else [_drop_representations, *_shared()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, redact, *rendering],
        )
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,  # first, so that a dropped line costs nothing
            *_shared(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    _route(handler, level)


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace the values of secret fields, in case a caller passes one."""
    for key in SECRET.intersection(event):
        event[key] = "[not logged]"
    return event


def mask_keys(text: str) -> str:
    """Replace all API keys in a text, for example in a path, the name of a model or the message of an exception."""
    return KEY.sub(MASK, text)


def _shared() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        _drop_color_message,
    ]


def _drop_color_message(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Drop uvicorn's second copy of its message, which has colour codes."""
    event.pop("color_message", None)
    return event


def _drop_representations(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Cut asyncio's message on a failed task or callback before its objects, which repeat the exception's text."""
    if event["_record"].name == "asyncio":
        event["event"] = REPRESENTATION.split(event["event"], maxsplit=1)[0]
    return event


def _rendering(*, json: bool, exception_texts: bool) -> list[Processor]:
    if json:
        tracebacks = structlog.processors.ExceptionRenderer(stacks_for(texts=exception_texts))
        return [tracebacks, _masked(structlog.processors.JSONRenderer())]
    formatter = text_for(texts=exception_texts)
    return [_escape_control, _masked(structlog.dev.ConsoleRenderer(pad_event_to=0, exception_formatter=formatter))]


def _masked(render: Processor) -> Processor:
    def rendered(logger: WrappedLogger, method: str, event: EventDict) -> str:
        return mask_keys(str(render(logger, method, event)))

    return rendered


def _escape_control(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Escape control characters in values, which clients may send, for terminals. The JSON renderer does so itself."""
    for key, value in event.items():
        if isinstance(value, str) and key != "event":
            event[key] = CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", value)
    return event


def _route(handler: logging.Handler, level: LogLevel) -> None:
    """Make ``handler`` the only one; log the libraries from warning on, unless ``level`` is debug."""
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "asyncio", "alembic", "httpx2", "httpcore2"):
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = True
        logger.setLevel(max(logging.WARNING, root.level) if level != "debug" else logging.DEBUG)
    # At debug it logs every statement with its values, which include texts of users.
    logging.getLogger("aiosqlite").setLevel(max(logging.WARNING, root.level))
