"""uvicorn's HTTP/1.1 protocol with bounds on heads, pipelining and slow clients.

The parser joins the pieces of a header without a bound: an endless header would take unbounded memory and, since every
piece copies all earlier ones, the event loop's time. uvicorn limits neither the time for the head of a request nor the
time for which a client leaves its answer unread; both would hold a connection and its buffers for ever. Bytes that are
not HTTP are answered with an error object of the API.
"""

import asyncio
from typing import ClassVar, Final

import structlog
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, ASGISendEvent
from uvicorn._types import Scope as ASGIScope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from antiphon.errors import InvalidRequestError
from antiphon.server.disconnect import DisconnectSignal
from antiphon.server.middleware import MAX_HEADER_BYTES, context_headers, error_answer, new_request_id
from antiphon.server.request_head import with_path
from antiphon.telemetry.request_line import RequestLine

NOT_HTTP: Final = "Invalid HTTP request received."

logger = structlog.get_logger(__name__)


class HTTPProtocol(HttpToolsProtocol):
    """uvicorn's option ``http``. A connection that exceeds a bound is answered with 400 and closed."""

    max_pending_bytes: ClassVar[int] = MAX_HEADER_BYTES
    """Bytes, beyond one read of the socket, that may arrive without completing a head, a piece of body or a message."""
    head_timeout: ClassVar[float] = 30.0
    """Seconds from the connection, or from a later request's first byte, until the head must be complete."""
    write_timeout: ClassVar[float] = 60.0
    """Seconds without a read by the client after which a connection with unread bytes is aborted."""
    max_pipelined: ClassVar[int] = 32
    """Requests of one connection that may wait while another one is answered."""

    _running: RequestResponseCycle | None = None
    """The request that is answered now, or was answered last; uvicorn's ``cycle`` is the newest request."""
    _disconnect: DisconnectSignal
    """The signal of ``_running``; the application finds it in the request's state."""
    _pending_bytes = 0
    _in_head = False
    _head_timer: asyncio.TimerHandle | None = None
    _reader_timer: asyncio.TimerHandle | None = None
    _unread = 0
    _refusal: str | None = None
    """The message of a 400 for the last request, which waits until the earlier requests are answered."""

    @property
    def is_answering(self) -> bool:
        """Whether a request is being answered."""
        return self._running is not None and not self._running.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the time for the first head."""
        super().connection_made(transport)
        self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Signal the disconnect to the running request, and drop the waiting ones."""
        self._stop_head_timer()
        self._stop_reader_timer()
        super().connection_lost(exc)
        self.pipeline.clear()
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
            self._disconnect.set()

    def data_received(self, data: bytes) -> None:
        """Parse ``data`` and check the bounds. After an error, drop all further bytes."""
        if self._refusal is not None:
            return
        self._pending_bytes += len(data)
        self._unset_keepalive_if_required()
        try:
            self._parse(data)
        except HttpParserError as error:
            cause = error.__context__
            self.send_400_response(cause.message if isinstance(cause, InvalidRequestError) else NOT_HTTP)
        if not self.transport.is_closing():
            self._check_bounds()

    def _check_bounds(self) -> None:
        if self._refusal is not None:
            return
        if self._pending_bytes > self.max_pending_bytes:
            self.send_400_response(f"The request's headers are too long: at most {MAX_HEADER_BYTES} bytes are taken.")
        # A head that arrives in one piece needs no timer.
        elif self._head_timer is None and (self._in_head or not self.is_answering):
            self._start_head_timer()

    def _parse(self, data: bytes) -> None:
        rest = memoryview(data)
        while (taken := self._feed(rest)) is not None:
            rest = rest[taken:]
            self._parse_without_upgrade()

    def _feed(self, data: memoryview) -> int | None:
        """Parse ``data``; return the number of parsed bytes if the parser stopped after a head with Upgrade."""
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as pause:
            taken: int = pause.args[0]
            return taken
        return None

    def _parse_without_upgrade(self) -> None:
        """Parse the last head again without its Upgrade, in a new parser: the old one has stopped."""
        version = self.parser.get_http_version().encode()
        first = b"%s %s HTTP/%s\r\n" % (self.parser.get_method(), self.url, version)
        fields = [b"%s: %s\r\n" % (name, value) for name, value in self.headers if name != b"upgrade"]
        self.parser = HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's parser
        self.parser.feed_data(b"".join([first, *fields, b"\r\n"]))

    def on_message_begin(self) -> None:
        """Begin the head of a request, unless too many wait. The parser turns the exception into its own error."""
        if len(self.pipeline) >= self.max_pipelined:
            raise InvalidRequestError(f"At most {self.max_pipelined} requests may wait on one connection.")
        super().on_message_begin()
        self._stop_head_timer()
        self._in_head = True

    def on_headers_complete(self) -> None:
        """Start the request; a head with Upgrade is parsed again first."""
        self._pending_bytes = 0
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise InvalidRequestError("This server is no proxy.")
            return
        self._in_head = False
        self._stop_head_timer()
        self.url = with_path(self.url)
        if self.parser.get_http_version() == "1.0":
            self.expect_100_continue = False  # RFC 9110, section 10.1.1
        super().on_headers_complete()
        self.headers = []  # a new list, for trailer fields, which are dropped (RFC 9110, section 6.5.1)

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body, whose size the application bounds."""
        self._pending_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request's body."""
        self._pending_bytes = 0
        if self._in_head:  # a head with Upgrade, whose body is not parsed yet
            return
        super().on_message_complete()

    def pause_writing(self) -> None:
        """Pause the answer until the client reads, for :attr:`write_timeout` at most."""
        super().pause_writing()
        self._start_reader_timer()

    def resume_writing(self) -> None:
        """Resume the answer: the client has read."""
        self._stop_reader_timer()
        super().resume_writing()

    def on_response_complete(self) -> None:
        """End an answer; start the time for the client to read the rest of it."""
        super().on_response_complete()
        if self._refusal is not None and not self.is_answering and not self.transport.is_closing():
            self._refuse(self._refusal)
        self._start_reader_timer()

    def send_400_response(self, msg: str) -> None:
        """Answer 400 to bytes that are no request, after the earlier answers; cut off an answer that has begun."""
        if self.pipeline and self.cycle.more_body:
            self.pipeline.popleft()  # the newest request, whose body is not readable
        if self._running is None or not self.is_answering:
            self._refuse(msg)
        elif self._running.response_started:
            self.transport.close()
        elif self._running.more_body:
            self._write_refusal(msg, new_request_id())
            self.transport.close()
        else:
            self._refusal = msg
            self._stop_head_timer()

    def _refuse(self, msg: str) -> None:
        """Answer 400, write the log line and close the connection."""
        request_id = new_request_id()
        size = self._write_refusal(msg, request_id)
        _log_refusal(request_id, size)
        self.transport.close()

    def _write_refusal(self, msg: str, request_id: str) -> int:
        """Write a 400; return the size of its body in bytes."""
        answer = error_answer(InvalidRequestError(msg))
        headers = [*answer.raw_headers, *context_headers(request_id, 0), (b"connection", b"close")]
        lines = [b"HTTP/1.1 400 Bad Request", *(name + b": " + value for name, value in headers)]
        self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + bytes(answer.body))
        return len(answer.body)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        self._disconnect = cycle.scope["state"]["disconnect"] = DisconnectSignal()
        old = cycle.scope["http_version"] == "1.0"
        super()._start_asgi_task(cycle, _Unchunked(cycle, app) if old else app)

    def _start_head_timer(self) -> None:
        self._stop_head_timer()
        self._head_timer = self.loop.call_later(self.head_timeout, self._on_head_timeout)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _on_head_timeout(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()

    def _start_reader_timer(self) -> None:
        """If bytes are unread, start the time in which the client must read some of them."""
        self._stop_reader_timer()
        self._unread = self.transport.get_write_buffer_size()
        if self._unread:
            self._reader_timer = self.loop.call_later(self.write_timeout, self._on_reader_timeout)

    def _on_reader_timeout(self) -> None:
        """Abort the connection of a client that has read nothing, unless a next answer is being written."""
        unread = self.transport.get_write_buffer_size()
        if self.is_answering and not self.flow.write_paused:
            return  # the end of that answer starts the timer again
        if unread < self._unread:
            self._start_reader_timer()
            return
        logger.info("reader_stalled", unread_bytes=unread)
        self.transport.abort()

    def _stop_reader_timer(self) -> None:
        if self._reader_timer is not None:
            self._reader_timer.cancel()
            self._reader_timer = None


class _Unchunked:
    """Answers HTTP/1.0 clients, which do not know chunked encoding: the end of the connection ends such a body.

    RFC 9112, section 6.1. uvicorn decides on the framing before the head and checks each piece against the expected
    length, so both are set here.
    """

    def __init__(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._cycle = cycle
        self._app = app
        self._raw = False

    async def __call__(self, scope: ASGIScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Answer one request."""

        async def send_raw(message: ASGISendEvent) -> None:
            if message["type"] == "http.response.start":
                self._raw = all(name.lower() != b"content-length" for name, _ in message.get("headers", ()))
                self._cycle.chunked_encoding = False if self._raw else None
            elif self._raw and message["type"] == "http.response.body":
                self._cycle.expected_content_length = len(message.get("body", b""))
            await send(message)

        await self._app(scope, receive, send_raw)


def _log_refusal(request_id: str, size: int) -> None:
    """Write the log line of a refused request that does not reach the application."""
    line = RequestLine()
    line.add(request_id=request_id, method=None, path=None, status=400, bytes_sent=size, duration=0.0)
    line.conclude("failed", "InvalidRequestError")
    line.write()


def with_write_timeout(write_timeout: float) -> type[HTTPProtocol]:
    """Return a protocol class with this :attr:`HTTPProtocol.write_timeout`: uvicorn takes a class, not an instance."""
    return type("HTTPProtocol", (HTTPProtocol,), {"write_timeout": write_timeout})
