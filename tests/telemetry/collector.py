"""A collector on loopback that keeps the traces sent to it over OTLP/HTTP."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

WAIT = 20.0
"""Seconds that anything may take before a test gives up."""


class Collector(ThreadingHTTPServer):
    """Accepts every POST; while ``answers`` is cleared, it does not answer."""

    daemon_threads = True

    def __init__(self) -> None:
        self.bodies: list[tuple[str, bytes]] = []
        """Path and body of each POST."""
        self.answers = threading.Event()
        self.answers.set()
        super().__init__(("127.0.0.1", 0), CollectorHandler)

    @property
    def url(self) -> str:
        """The URL for spans."""
        return f"http://127.0.0.1:{self.server_port}/v1/traces"

    @property
    def spans(self) -> dict[str, Span]:
        """The received spans by name."""
        requests = [ExportTraceServiceRequest.FromString(body) for _, body in self.bodies]
        scopes = [scope for request in requests for sent in request.resource_spans for scope in sent.scope_spans]
        return {span.name: span for scope in scopes for span in scope.spans}


class CollectorHandler(BaseHTTPRequestHandler):
    """Reads a POST and answers 200."""

    server: Collector

    def do_POST(self) -> None:
        """Keep the path and the body."""
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.bodies.append((self.path, body))
        self.server.answers.wait(WAIT)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector for the block."""
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(WAIT)
