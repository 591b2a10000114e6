"""Turns traces on: by an option, or by OpenTelemetry's own variables of the environment."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

import structlog

from antiphon import config
from antiphon.console.command_error import CommandError
from antiphon.telemetry.spans import Tracer

FLUSH: Final = 3.0
"""Seconds that the last spans have to be sent when the server ends."""
TRACES_PATH: Final = "/v1/traces"
"""Of an OTLP collector: appended where an endpoint has no path."""
INSTALL: Final = "Install the extra: pip install 'antiphon[otel]'"


@contextmanager
def traced(endpoint: str | None) -> Iterator[Tracer | None]:
    """Give what spans are told to, or None when nobody asked for traces; the block's end sends the last of them.

    Raises :class:`CommandError` for an endpoint that cannot be one, a protocol that is not spoken, and an option
    without the extra. Variables without the extra are a warning: they may have been meant for other programs.
    """
    if endpoint is None and not config.has_trace_collector():
        yield None
        return
    if (protocol := config.otlp_protocol()) != config.OTLP_PROTOCOL:
        advice = f"Set OTEL_EXPORTER_OTLP_TRACES_PROTOCOL={config.OTLP_PROTOCOL}."
        raise CommandError(f"Traces are not sent by {protocol}, which the environment asks for.", advice)
    url = None if endpoint is None else _traces_url(endpoint)
    try:
        from antiphon.telemetry.traces import Tracing, otlp_processor  # noqa: PLC0415 (the extra may be missing)
    except ImportError as error:
        if endpoint is not None:
            raise CommandError("Traces need packages that are not installed.", INSTALL) from error
        structlog.get_logger(__name__).warning("traces_off", reason="the extra otel is not installed", advice=INSTALL)
        yield None
        return
    tracing = Tracing(otlp_processor(url))
    try:
        yield tracing
    finally:
        if not tracing.close(FLUSH):
            structlog.get_logger(__name__).warning("traces_not_sent", seconds=FLUSH)


def _traces_url(endpoint: str) -> str:
    try:
        parts = urlsplit(endpoint)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 0) >= 0
    except ValueError:
        usable = False
    if not usable:
        raise CommandError(
            f"Traces cannot be sent to {endpoint}.", "Give an address such as http://127.0.0.1:4318/v1/traces."
        )
    return parts._replace(path=TRACES_PATH).geturl() if parts.path in {"", "/"} else endpoint
