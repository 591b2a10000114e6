"""Middleware of every request, as plain ASGI: ids, timing and log line; bounds of head and body; answers to errors."""

import asyncio
import math
import secrets
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final

import msgspec
import structlog
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from antiphon.errors import (
    APIError,
    BodyMemoryError,
    InternalServerError,
    InvalidRequestError,
    PayloadTooLargeError,
    RequestTimeoutError,
    ServiceUnavailableError,
)
from antiphon.protocol.sse import error_response
from antiphon.server.body_memory import BodyMemory
from antiphon.server.request_head import check_head
from antiphon.telemetry.request_line import RequestLine, current_line, request_line

API_VERSION: Final = b"2020-10-01"
"""The version of the API reference."""
MAX_HEADER_BYTES: Final = 64 * 1024
"""Bytes of the names and values of one request's headers together."""
CLIENT_REQUEST_ID: Final = b"x-client-request-id"
MAX_CLIENT_REQUEST_ID: Final = 512
"""ASCII characters in X-Client-Request-Id. Reference: debugging requests."""
MAX_LENGTH_DIGITS: Final = 18
"""Digits of a Content-Length."""
SHUTTING_DOWN: Final = "The server is shutting down."
MAX_LOGGED_PATH: Final = 256
"""Characters of a path in logs and spans."""
PROBES: Final = frozenset({"/health", "/health/live", "/health/ready", "/metrics"})
"""Paths that machines request every few seconds: their log lines have debug level, and they have no spans."""

logger = structlog.get_logger(__name__)


def new_request_id() -> str:
    """Return ``req_`` and 32 hexadecimal digits."""
    return f"req_{secrets.token_hex(16)}"


def json_answer(value: msgspec.Struct, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return ``value`` as a JSON response."""
    return Response(msgspec.json.encode(value), status, headers, "application/json")


def error_answer(error: APIError, headers: Mapping[str, str] | None = None) -> Response:
    """Return ``error`` as the reference's error object, with Retry-After when a retry may succeed.

    A body that is refused before its end makes the connection unusable: the answer has ``Connection: close``.
    """
    retry = {} if error.retry_after is None else retry_headers(error.retry_after)
    unusable = isinstance(error, PayloadTooLargeError | RequestTimeoutError | BodyMemoryError)
    close = {"connection": "close"} if unusable else {}
    return json_answer(error_response(error), error.status, {**error.headers, **retry, **close, **(headers or {})})


def retry_headers(seconds: float) -> dict[str, str]:
    """Return the headers that say after how many seconds a retry may succeed."""
    return {"retry-after": str(math.ceil(seconds)), "retry-after-ms": str(math.ceil(seconds * 1000))}


class RequestContext:
    """Adds an id, the timing and the API's version to every answer, and writes one log line per request.

    ``new_request_id`` returns ``req_`` and 32 hexadecimal digits; ``clock`` returns monotonic seconds.
    """

    def __init__(self, app: ASGIApp, *, new_request_id: Callable[[], str], clock: Callable[[], float]) -> None:
        self._app = app
        self._new_request_id = new_request_id
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; other scopes pass unchanged."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        names = {"request_id": self._new_request_id()}
        if client_request_id := header(scope, CLIENT_REQUEST_ID):
            names["client_request_id"] = client_request_id[:MAX_CLIENT_REQUEST_ID]
        scope.setdefault("state", {})["request_id"] = names["request_id"]
        answer = _SentAnswer(send, names["request_id"], self._clock)
        bound = structlog.contextvars.bind_contextvars(**names)
        with request_line() as line:
            try:
                await self._app(scope, receive, answer.send)
            except Exception as error:
                line.fail(error)
                raise
            finally:
                answer.describe(line)
                line.add(method=scope["method"], path=scope["path"][:MAX_LOGGED_PATH])
                line.write(quiet=scope["path"] in PROBES)
                structlog.contextvars.reset_contextvars(**bound)


class _SentAnswer:
    """Sends an answer with the common headers, and keeps its status and size."""

    def __init__(self, send: Send, request_id: str, clock: Callable[[], float]) -> None:
        self._send = send
        self._request_id = request_id
        self._clock = clock
        self._start = clock()
        self._status: int | None = None
        self._bytes = 0
        self._complete = False

    async def send(self, message: Message) -> None:
        """Send a message; add the common headers to the first one."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            message["headers"] = [*message["headers"], *context_headers(self._request_id, self._clock() - self._start)]
        await self._send(message)
        if message["type"] == "http.response.body":
            self._bytes += len(message.get("body", b""))
            self._complete = not message.get("more_body", False)

    def describe(self, line: RequestLine) -> None:
        """Add the ended answer to ``line``, and the outcome unless an inner layer has set it."""
        if self._status is None or not self._complete:
            line.conclude("cancelled")
        elif self._status >= HTTPStatus.BAD_REQUEST:
            line.conclude("failed", HTTPStatus(self._status).name.lower())
        else:
            line.conclude("completed")
        line.add(status=self._status, bytes_sent=self._bytes, duration=round(self._clock() - self._start, 6))


def context_headers(request_id: str, seconds: float) -> list[tuple[bytes, bytes]]:
    """Return the headers of every answer; ``seconds`` is the time since the request's head was complete."""
    return [
        (b"x-request-id", request_id.encode("ascii")),
        (b"openai-processing-ms", str(round(seconds * 1000)).encode("ascii")),
        (b"openai-version", API_VERSION),
    ]


class ErrorBoundary:
    """Answers every exception: an ``APIError`` as itself, any other as 500, with its traceback in the log only.

    Only the shutdown of the server cancels a request, during its upload for example; the answer is a 503.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. An exception after the answer has begun is raised: the server closes the connection."""
        started = False

        def send_and_note(message: Message) -> Awaitable[None]:
            nonlocal started
            started = True
            return send(message)

        answer: Response | None = None
        try:
            await self._app(scope, receive, send_and_note)
        except ClientDisconnect:
            return  # RequestContext logs the outcome "cancelled"
        except asyncio.CancelledError:
            if started or scope["type"] != "http":
                raise
            answer = error_answer(ServiceUnavailableError(SHUTTING_DOWN, headers={"connection": "close"}))
        except Exception as error:
            if started or scope["type"] != "http":
                raise
            if line := current_line():
                line.fail(error)
            answer = error_answer(error if isinstance(error, APIError) else _logged(error))
        if answer is not None:  # outside the handler, because the exception's frames hold the body
            await answer(scope, receive, send)


def _logged(error: Exception) -> InternalServerError:
    logger.error("unhandled_exception", exc_info=error)
    return InternalServerError("The server had an error while processing your request.")


class RequestBounds:
    """Bounds the headers, and the body in bytes and in seconds. The head is checked at once, the body as it is read.

    ``memory`` bounds all bodies together.
    """

    def __init__(self, app: ASGIApp, *, max_body_size: int, body_timeout: float, memory: BodyMemory) -> None:
        self._app = app
        self._max_body_size = min(max_body_size, memory.limit)
        self._body_timeout = body_timeout
        self._memory = memory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Raises ``InvalidRequestError`` when its head is too large, invalid or ambiguous."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        check_head(scope)
        _check_headers(scope)
        declared = _declared_length(scope)
        body = BoundedBody(receive, declared, self._max_body_size, self._body_timeout, self._memory)
        scope.setdefault("state", {})["body"] = body
        try:
            await self._app(scope, body, send)
        finally:
            body.release()


def header(scope: Scope, name: bytes) -> str | None:
    """Return the value of a request's first header ``name`` (lower case) without surrounding blanks, or None."""
    for each, value in scope["headers"]:
        if each == name:
            text: str = value.strip(b" \t").decode("latin-1")
            return text
    return None


def _check_headers(scope: Scope) -> None:
    size = sum([len(name) + len(value) for name, value in scope["headers"]])
    if size > MAX_HEADER_BYTES:
        raise InvalidRequestError(f"The request's headers are {size} bytes long; at most {MAX_HEADER_BYTES} are taken.")
    client_request_id = header(scope, CLIENT_REQUEST_ID) or ""
    if len(client_request_id) > MAX_CLIENT_REQUEST_ID or not client_request_id.isascii():
        raise InvalidRequestError(f"X-Client-Request-Id must be at most {MAX_CLIENT_REQUEST_ID} ASCII characters.")


def _declared_length(scope: Scope) -> int:
    text = header(scope, b"content-length")
    if text is None:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_LENGTH_DIGITS):
        message = "Content-Length must be a number of bytes."
        raise InvalidRequestError(message, headers={"connection": "close"})
    return int(text)


class BoundedBody:
    """A ``receive`` whose body has at most ``limit`` bytes and arrives within ``timeout`` seconds of the first read.

    ``declared`` is the Content-Length, 0 without one. Messages after the body pass unchanged. The body's received bytes
    count in ``memory`` until :meth:`release`.
    """

    def __init__(self, receive: Receive, declared: int, limit: int, timeout: float, memory: BodyMemory) -> None:
        self._receive = receive
        self._size = declared
        self._read = 0
        self._limit = limit
        self._timeout = timeout
        self._deadline: float | None = None
        self._complete = False
        self._memory = memory
        self._granted = 0

    async def __call__(self) -> Message:
        """Return the next message.

        Raises ``PayloadTooLargeError``, ``BodyMemoryError``, and ``RequestTimeoutError`` after ``timeout`` seconds.
        """
        if self._complete:
            return await self._receive()
        self._check_size()
        message = await self._receive_in_time()
        self._read += len(message.get("body", b""))
        self._size = max(self._size, self._read)
        self._check_size()
        self._complete = not message.get("more_body", False)
        return message

    async def _receive_in_time(self) -> Message:
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().time() + self._timeout
        try:
            async with asyncio.timeout_at(self._deadline):
                return await self._receive()
        except TimeoutError:
            message = f"The request body did not arrive within {self._timeout:g} seconds."
            raise RequestTimeoutError(message) from None

    def _check_size(self) -> None:
        if self._size > self._limit:
            raise PayloadTooLargeError(f"The request body is too large: at most {self._limit} bytes are taken.")
        if not self._read:
            self._memory.check(0, self._size)
        elif self._read > self._granted:
            self._memory.grow(self._granted, self._read)
            self._granted = self._read

    def grow_decoded(self, text: bytes) -> None:
        """Reserve the memory to decode the complete body ``text``. Raises as ``BodyMemory.grow_decoded`` does."""
        self._granted = self._memory.grow_decoded(self._granted, text)

    def release(self) -> None:
        """Release the memory at the end of the request."""
        self._memory.release(self._granted)
        self._granted = 0
