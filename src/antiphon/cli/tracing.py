"""Turns traces on by an option or by OpenTelemetry's environment variables."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

import structlog

from antiphon import config
from antiphon.console.command_error import CommandError
from antiphon.telemetry.spans import Tracer

FLUSH: Final = 3.0
"""Seconds in which the last spans are sent when the server ends."""
TRACES_PATH: Final = "/v1/traces"
"""The path of an OTLP collector; appended to an endpoint without a path."""
INSTALL: Final = "Install the extra: pip install 'antiphon[otel]'"


@contextmanager
def open_tracer(endpoint: str | None) -> Iterator[Tracer | None]:
    """Yield a tracer, or None when traces are off; send the last spans at the end.

    Raises :class:`CommandError` for an invalid endpoint, an unsupported protocol, and an option without the extra
    ``otel``. Variables without the extra cause a warning only: they may be meant for other programs.
    """
    if endpoint is None and not config.has_trace_collector():
        yield None
        return
    if (protocol := config.otlp_protocol()) != config.OTLP_PROTOCOL:
        advice = f"Set OTEL_EXPORTER_OTLP_TRACES_PROTOCOL={config.OTLP_PROTOCOL}."
        raise CommandError(f"Traces cannot be sent by the protocol {protocol} of the environment.", advice)
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
