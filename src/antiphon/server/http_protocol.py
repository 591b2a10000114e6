"""uvicorn's HTTP/1.1 protocol with bounds on what comes before a request reaches the application.

The parser joins the pieces of a header as they come, for as long as they come: one endless header would cost memory
without bound and, as every piece copies all before it, the event loop's time. Nor does uvicorn limit how long the head
of a request may take, or for how long a client may leave its answer unread: both would hold a connection, and what was
written to it, for ever. What is not HTTP is answered in the API's own shape.
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
    """Give it to uvicorn as ``http``. A connection that breaks a bound is answered with 400 and closed."""

    max_silent_bytes: ClassVar[int] = MAX_HEADER_BYTES
    """Bytes that may arrive, beyond one read of the socket, without completing a head, a piece of body or a message."""
    head_timeout: ClassVar[float] = 30.0
    """Seconds from the connection, or from a later request's first byte, to the end of the head."""
    write_timeout: ClassVar[float] = 60.0
    """Seconds for which a client may take nothing of what is written to it; then the connection is cut off."""
    max_pipelined: ClassVar[int] = 32
    """Requests that one connection may have waiting behind the one that is answered."""

    _running: RequestResponseCycle | None = None
    """The request that is answered, or was answered last; uvicorn's ``cycle`` is the newest one that has come."""
    _disconnect: DisconnectSignal
    """Of its client: the application finds it in the request's state."""
    _silent_bytes = 0
    _in_head = False
    _head_timer: asyncio.TimerHandle | None = None
    _reader_timer: asyncio.TimerHandle | None = None
    _unread = 0
    _refusal: str | None = None
    """Why what came last cannot be read, from then until the answers before it have been sent."""

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""
        return self._running is not None and not self._running.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect the first head."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing more: what is answered hears of it, what waits is forgotten."""
        self._stop_head_timer()
        self._stop_reader_timer()
        super().connection_lost(exc)
        self.pipeline.clear()
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
            self._disconnect.set()

    def data_received(self, data: bytes) -> None:
        """Parse, and count what the parser only keeps; nothing that follows what could not be read is."""
        if self._refusal is not None:
            return
        self._silent_bytes += len(data)
        self._unset_keepalive_if_required()
        try:
            self._parse(data)
        except HttpParserError as error:
            cause = error.__context__
            self.send_400_response(cause.message if isinstance(cause, InvalidRequestError) else NOT_HTTP)
        if not self.transport.is_closing():
            self._bound_what_came()

    def _bound_what_came(self) -> None:
        if self._refusal is not None:
            return
        if self._silent_bytes > self.max_silent_bytes:
            self.send_400_response(f"The request's headers are too long: at most {MAX_HEADER_BYTES} bytes are taken.")
        # Most heads come whole, and need no timer; what comes while nothing is answered must become one.
        elif self._head_timer is None and (self._in_head or not self.busy):
            self._expect_head()

    def _parse(self, data: bytes) -> None:
        rest = memoryview(data)
        while (taken := self._feed(rest)) is not None:
            rest = rest[taken:]
            self._parse_without_upgrade()

    def _feed(self, data: memoryview) -> int | None:
        """Parse; give the bytes up to a head with Upgrade when there is one: the parser has stopped there."""
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as pause:
            taken: int = pause.args[0]
            return taken
        return None

    def _parse_without_upgrade(self) -> None:
        """Parse the last head once more, by a parser that has not stopped for its Upgrade."""
        version = self.parser.get_http_version().encode()
        first = b"%s %s HTTP/%s\r\n" % (self.parser.get_method(), self.url, version)
        fields = [b"%s: %s\r\n" % (name, value) for name, value in self.headers if name != b"upgrade"]
        self.parser = HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own: it drops such data
        self.parser.feed_data(b"".join([first, *fields, b"\r\n"]))

    def on_message_begin(self) -> None:
        """Expect the head of another request, unless too many wait: the parser makes an error of what is raised."""
        if len(self.pipeline) >= self.max_pipelined:
            raise InvalidRequestError(f"At most {self.max_pipelined} requests may wait on one connection.")
        super().on_message_begin()
        self._stop_head_timer()
        self._in_head = True

    def on_headers_complete(self) -> None:
        """Start the request, or leave that to the head without Upgrade: until then it counts as a head."""
        self._silent_bytes = 0
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
        self.headers = []  # the request keeps those of its head; a trailer's are dropped (RFC 9110, section 6.5.1)

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body, which the application bounds."""
        self._silent_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request's body."""
        self._silent_bytes = 0
        if self._in_head:  # with Upgrade: its body is not read yet
            return
        super().on_message_complete()

    def pause_writing(self) -> None:
        """Hold the answer back until the client has read, and watch whether it does."""
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        """Go on with the answer: the client has read."""
        self._stop_reader_timer()
        super().resume_writing()

    def on_response_complete(self) -> None:
        """End an answer, and watch whether the client takes what is left of it."""
        super().on_response_complete()
        if self._refusal is not None and not self.busy and not self.transport.is_closing():
            self._refuse(self._refusal)
        self._watch_reader()

    def send_400_response(self, msg: str) -> None:
        """Answer what no application will see, in its turn; an answer that has begun is cut off instead."""
        if self.pipeline and self.cycle.more_body:
            self.pipeline.popleft()  # what cannot be read is the newest request's body
        if self._running is None or not self.busy:
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
        """Answer and log what no request of an application is."""
        request_id = new_request_id()
        size = self._write_refusal(msg, request_id)
        _log_refusal(request_id, size)
        self.transport.close()

    def _write_refusal(self, msg: str, request_id: str) -> int:
        """Write a 400; give the bytes of its body."""
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

    def _expect_head(self) -> None:
        self._stop_head_timer()
        self._head_timer = self.loop.call_later(self.head_timeout, self._head_is_late)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()

    def _watch_reader(self) -> None:
        """Start the time in which the client must take some of what it has been sent, if it has not got all of it."""
        self._stop_reader_timer()
        self._unread = self.transport.get_write_buffer_size()
        if self._unread:
            self._reader_timer = self.loop.call_later(self.write_timeout, self._judge_reader)

    def _judge_reader(self) -> None:
        """Cut off a client that took nothing, unless more was written meanwhile: that answer's end is watched, too."""
        unread = self.transport.get_write_buffer_size()
        if self.busy and not self.flow.write_paused:
            return
        if unread < self._unread:
            self._watch_reader()
            return
        logger.info("reader_stalled", unread_bytes=unread)
        self.transport.abort()

    def _stop_reader_timer(self) -> None:
        if self._reader_timer is not None:
            self._reader_timer.cancel()
            self._reader_timer = None


class _Unchunked:
    """Answers an HTTP/1.0 client, which knows no chunks: a body without a length ends where the connection does.

    RFC 9112, section 6.1. uvicorn's cycle frames a body as it was set before its head, and checks every piece against
    the bytes that are left.
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
    """Write the line of a request that no application sees; one that an application does see has its line there."""
    line = RequestLine()
    line.add(request_id=request_id, method=None, path=None, status=400, bytes_sent=size, duration=0.0)
    line.conclude("failed", "InvalidRequestError")
    line.write()


def with_write_timeout(write_timeout: float) -> type[HTTPProtocol]:
    """Return the protocol with another :attr:`HTTPProtocol.write_timeout`, for uvicorn, which takes classes only."""
    return type("HTTPProtocol", (HTTPProtocol,), {"write_timeout": write_timeout})
