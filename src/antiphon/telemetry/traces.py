"""Traces by OpenTelemetry, sent over OTLP/HTTP. The extra ``otel`` installs what this module, and no other, imports.

The SDK reads its own variables of the environment (``OTEL_*``): headers and time-out of the exporter, sampler,
resource, sizes of queues. Spans wait in a bounded queue and are sent by a thread; what cannot be sent is dropped and
logged.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from antiphon import __version__
from antiphon.telemetry.logs import mask_keys
from antiphon.telemetry.spans import Attribute, FinishedSpan, RequestSpan

PROPAGATOR: Final = TraceContextTextMapPropagator()
"""W3C Trace Context: the headers traceparent and tracestate."""
NANOSECONDS: Final = 1_000_000_000


class Tracing:
    """Implements :class:`antiphon.telemetry.spans.Tracer`."""

    def __init__(self, processor: SpanProcessor, *, clock: Callable[[], int] = time.time_ns) -> None:
        """``clock`` is in Unix nanoseconds."""
        # The provider's own end at the exit of the process would wait for a dead collector.
        self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("antiphon", __version__)
        self._clock = clock

    @contextmanager
    def request(self, headers: Mapping[str, str]) -> Iterator[RequestSpan]:
        """Open a server span, a child of the client's if it names one, and make it the parent of all within."""
        parent = PROPAGATOR.extract(headers)
        span = self._tracer.start_span("HTTP", parent, SpanKind.SERVER, start_time=self._clock())
        token = context.attach(within := trace.set_span_in_context(span, parent))
        try:
            yield _ServerSpan(self._tracer, self._clock, span, within)
        finally:
            context.detach(token)
            span.end(self._clock())

    def close(self, timeout: float) -> bool:
        """Send what waits, for ``timeout`` seconds at most; return whether all was tried. Blocks."""
        ending = threading.Thread(target=self._provider.shutdown, name="traces-end", daemon=True)
        ending.start()
        ending.join(timeout)
        return not ending.is_alive()


def otlp_processor(endpoint: str | None) -> SpanProcessor:
    """Send spans in batches, by a thread: to ``endpoint``, a whole URL, or where the SDK's own variables say."""
    return BatchSpanProcessor(OTLPSpanExporter(endpoint))


class _ServerSpan:
    def __init__(self, tracer: trace.Tracer, clock: Callable[[], int], span: Span, within: context.Context) -> None:
        self._tracer = tracer
        self._clock = clock
        self._span = span
        self._within = within

    @property
    def ids(self) -> Mapping[str, str]:
        of = self._span.get_span_context()
        return {"trace_id": trace.format_trace_id(of.trace_id), "span_id": trace.format_span_id(of.span_id)}

    def describe(self, name: str, attributes: Mapping[str, Attribute], error: str | None = None) -> None:
        self._span.update_name(name)
        self._span.set_attributes(_masked(attributes))
        _fail(self._span, error)

    def record(self, span: FinishedSpan) -> None:
        end = self._clock()
        start = end - round(span.duration * NANOSECONDS)
        made = self._tracer.start_span(
            mask_keys(span.name), self._within, attributes=_masked(span.attributes), start_time=start
        )
        for name, seconds in span.events.items():
            made.add_event(name, timestamp=start + round(seconds * NANOSECONDS))
        _fail(made, span.error)
        made.end(end)


def _fail(span: Span, error: str | None) -> None:
    if error is not None:
        span.set_attribute("error.type", error)
        span.set_status(StatusCode.ERROR)


def _masked(attributes: Mapping[str, Attribute]) -> dict[str, Attribute]:
    return {name: _without_keys(value) for name, value in attributes.items()}


def _without_keys(value: Attribute) -> Attribute:
    if isinstance(value, str):
        return mask_keys(value)
    return value if isinstance(value, bool | int | float) else [mask_keys(text) for text in value]


def _resource() -> Resource:
    """Name the service, unless the environment does."""
    made = Resource.create({SERVICE_VERSION: __version__})
    named = not str(made.attributes[SERVICE_NAME]).startswith("unknown_service")
    return made if named else made.merge(Resource({SERVICE_NAME: "antiphon"}))
