"""Traces by OpenTelemetry over OTLP/HTTP. Only this module imports what the extra ``otel`` installs.

The SDK reads its own environment variables (``OTEL_*``): headers and time-out of the exporter, sampler, resource, sizes
of queues. A thread sends the spans from a bounded queue. Spans that cannot be sent are dropped, and the loss is logged.
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
        # At the exit of the process, the provider would wait for a collector that does not answer.
        self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("antiphon", __version__)
        self._clock = clock

    @contextmanager
    def request(self, headers: Mapping[str, str]) -> Iterator[RequestSpan]:
        """Open a server span, a child of the client's span if ``headers`` name one, for the block."""
        parent = PROPAGATOR.extract(headers)
        span = self._tracer.start_span("HTTP", parent, SpanKind.SERVER, start_time=self._clock())
        token = context.attach(span_context := trace.set_span_in_context(span, parent))
        try:
            yield _ServerSpan(self._tracer, self._clock, span, span_context)
        finally:
            context.detach(token)
            span.end(self._clock())

    def close(self, timeout: float) -> bool:
        """Send the spans in the queue, for ``timeout`` seconds at most; return whether it finished. Blocks."""
        ending = threading.Thread(target=self._provider.shutdown, name="traces-end", daemon=True)
        ending.start()
        ending.join(timeout)
        return not ending.is_alive()


def otlp_processor(endpoint: str | None) -> SpanProcessor:
    """Return a processor whose thread sends spans to the URL ``endpoint``, or to the one in the SDK's variables."""
    return BatchSpanProcessor(OTLPSpanExporter(endpoint))


class _ServerSpan:
    def __init__(self, tracer: trace.Tracer, clock: Callable[[], int], span: Span, parent: context.Context) -> None:
        self._tracer = tracer
        self._clock = clock
        self._span = span
        self._parent = parent

    @property
    def ids(self) -> Mapping[str, str]:
        ids = self._span.get_span_context()
        return {"trace_id": trace.format_trace_id(ids.trace_id), "span_id": trace.format_span_id(ids.span_id)}

    def describe(self, name: str, attributes: Mapping[str, Attribute], error: str | None = None) -> None:
        self._span.update_name(name)
        self._span.set_attributes(_masked(attributes))
        _fail(self._span, error)

    def record(self, span: FinishedSpan) -> None:
        end = self._clock()
        start = end - round(span.duration * NANOSECONDS)
        child = self._tracer.start_span(
            mask_keys(span.name), self._parent, attributes=_masked(span.attributes), start_time=start
        )
        for name, seconds in span.events.items():
            child.add_event(name, timestamp=start + round(seconds * NANOSECONDS))
        _fail(child, span.error)
        child.end(end)


def _fail(span: Span, error: str | None) -> None:
    if error is not None:
        span.set_attribute("error.type", error)
        span.set_status(StatusCode.ERROR)


def _masked(attributes: Mapping[str, Attribute]) -> dict[str, Attribute]:
    return {name: _masked_value(value) for name, value in attributes.items()}


def _masked_value(value: Attribute) -> Attribute:
    if isinstance(value, str):
        return mask_keys(value)
    return value if isinstance(value, bool | int | float) else [mask_keys(text) for text in value]


def _resource() -> Resource:
    """Return the resource; the service is ``antiphon`` unless the environment names it."""
    resource = Resource.create({SERVICE_VERSION: __version__})
    named = not str(resource.attributes[SERVICE_NAME]).startswith("unknown_service")
    return resource if named else resource.merge(Resource({SERVICE_NAME: "antiphon"}))
