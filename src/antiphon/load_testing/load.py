"""A light HTTP client that measures servers: it notes when text arrives and decodes the answer later.

It uses httptools' parser, because a whole HTTP library would take processor time from the measured server. Each
request has its own connection. Source: RFC 9112; "Streaming" of the API reference.
"""

import asyncio
import itertools
import re
import time
from collections.abc import Coroutine, Iterable
from functools import cached_property
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import httptools
import msgspec
from msgspec import Struct

from antiphon.protocol.sse import SSEDecoder

_T = TypeVar("_T")
TIMEOUT: Final = 600.0
"""Seconds for one answer."""
_READ: Final = 1 << 16
_OK: Final = 200
_SHOWN: Final = 300
"""Characters of an invalid answer in an error message."""
_TEXT: Final = re.compile(rb'"(?:content|reasoning_content|reasoning|arguments)": ?"[^"]')
"""The beginning of a non-empty piece of text."""
_LONGEST: Final = 32
"""Maximum bytes of a match of ``_TEXT``."""


class LoadError(Exception):
    """A server sent no complete answer."""


class Target(Struct, frozen=True, kw_only=True):
    """A server, the model to use there, and fields of every request for free text."""

    host: str
    port: int
    model: str = ""
    path: str = ""
    """The path before ``/v1/chat/completions``."""
    tls: bool = False
    api_key: str | None = None
    fields: dict[str, Any] = {}

    @classmethod
    def at(cls, url: str, **how: Any) -> "Target":  # noqa: ANN401 (the other attributes)
        """Return the target at an address, with or without ``/v1`` at its end. Raises ValueError."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url} is not an address of a server")
        tls = parts.scheme == "https"
        path = parts.path.rstrip("/").removesuffix("/v1")
        return cls(host=parts.hostname, port=parts.port or (443 if tls else 80), path=path, tls=tls, **how)

    def request(self, body: dict[str, Any]) -> bytes:
        """Return the bytes of the POST request of a streamed completion."""
        payload = msgspec.json.encode(
            {"model": self.model, **body, "stream": True, "stream_options": {"include_usage": True}}
        )
        key = f"Authorization: Bearer {self.api_key}\r\n" if self.api_key else ""
        head = (
            f"POST {self.path}/v1/chat/completions HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n{key}"
            f"Content-Type: application/json\r\nConnection: close\r\nContent-Length: {len(payload)}\r\n\r\n"
        )
        return head.encode() + payload


class _Delta(Struct):
    content: str | None = None
    reasoning_content: str | None = None


class _Choice(Struct):
    index: int = 0
    delta: _Delta | None = None


class PromptDetails(Struct):
    """The part of the usage about the prompt."""

    cached_tokens: int | None = 0


class CompletionDetails(Struct):
    """The part of the usage about a prediction."""

    accepted_prediction_tokens: int | None = 0
    rejected_prediction_tokens: int | None = 0


class Usage(Struct):
    """The tokens that the server counted."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None


class _Chunk(Struct):
    choices: list[_Choice] = []
    usage: Usage | None = None


class Answer:
    """One streamed answer. Times are in seconds of ``time.perf_counter``."""

    def __init__(self, sent: float, arrivals: list[float], ended: float, body: bytes) -> None:
        self.sent = sent
        self.arrivals = arrivals
        """The arrival time of each piece of text."""
        self.ended = ended
        self._body = body

    @property
    def first_token(self) -> float:
        """Seconds from the request to the first text."""
        return self.arrivals[0] - self.sent

    @property
    def total(self) -> float:
        """Seconds from the request to the end."""
        return self.ended - self.sent

    @property
    def gaps(self) -> list[float]:
        """Seconds between one piece of text and the next."""
        return [later - earlier for earlier, later in itertools.pairwise(self.arrivals)]

    @cached_property
    def _chunks(self) -> list[_Chunk]:
        payloads = SSEDecoder().feed(self._body)
        try:
            return [msgspec.json.decode(payload, type=_Chunk) for payload in payloads if payload != "[DONE]"]
        except msgspec.MsgspecError as error:
            raise LoadError(f"the answer cannot be read: {error}") from error

    @property
    def usage(self) -> Usage:
        """The server's usage; without one, each piece of text counts as a token."""
        reported = [chunk.usage for chunk in self._chunks if chunk.usage is not None]
        return reported[-1] if reported else Usage(completion_tokens=len(self.arrivals))

    @property
    def tokens(self) -> int:
        """Tokens of the answer."""
        return self.usage.completion_tokens

    @property
    def choices(self) -> int:
        """The number of choices in the answer."""
        return len({choice.index for chunk in self._chunks for choice in chunk.choices})

    @property
    def text(self) -> str:
        """The first choice's answer."""
        choices = [choice for chunk in self._chunks for choice in chunk.choices if choice.index == 0]
        return "".join(choice.delta.content or "" for choice in choices if choice.delta is not None)


class Watch:
    """Two signals of a stream: ``started`` is set at its first text; set ``enough`` to stop it."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.enough = asyncio.Event()


class FirstOnly(Watch):
    """Stops a stream at its first text."""

    def __init__(self) -> None:
        super().__init__()
        self.enough.set()


class _ResponseHandler:
    """The callbacks of httptools' parser, which collect body and arrival times."""

    def __init__(self) -> None:
        self.body = bytearray()
        self.arrivals: list[float] = []
        self.now = 0.0
        self.complete = False
        self._searched = 0

    def on_body(self, body: bytes) -> None:
        self.body += body
        found = [match.end() for match in _TEXT.finditer(self.body, self._searched)]
        self.arrivals += [self.now] * len(found)
        self._searched = max(self._searched, len(self.body) - _LONGEST, *found[-1:])

    def on_message_complete(self) -> None:
        self.complete = True


async def ask(target: Target, body: dict[str, Any], watch: Watch | None = None) -> Answer:
    """Request a chat completion and read its stream, to the end or until ``watch.enough`` is set.

    Raises :class:`LoadError` when the answer is not complete.
    """
    try:
        async with asyncio.timeout(TIMEOUT):
            return await _ask(target, target.request(body), watch or Watch())
    except TimeoutError as error:
        raise LoadError(f"no answer within {TIMEOUT:.0f} s") from error
    except OSError as error:
        raise LoadError(f"{target.host}:{target.port} cannot be reached: {error}") from error
    except httptools.HttpParserError as error:
        raise LoadError(f"the answer cannot be read: {error}") from error


async def _ask(target: Target, request: bytes, watch: Watch) -> Answer:
    sent = time.perf_counter()
    reader, writer = await asyncio.open_connection(target.host, target.port, limit=_READ, ssl=target.tls or None)
    handler = _ResponseHandler()
    parser = httptools.HttpResponseParser(handler)
    try:
        writer.write(request)
        while not handler.complete and (data := await reader.read(_READ)):
            handler.now = time.perf_counter()
            parser.feed_data(data)
            if handler.arrivals:
                watch.started.set()
                if watch.enough.is_set():
                    return Answer(sent, handler.arrivals, handler.now, b"")
        ended = time.perf_counter()
    finally:
        writer.close()
    body = bytes(handler.body)
    if parser.get_status_code() != _OK or not handler.arrivals or not body.rstrip().endswith(b"data: [DONE]"):
        raise LoadError(f"incomplete answer: {body[-_SHOWN:].decode(errors='replace').strip() or 'no bytes'}")
    return Answer(sent, handler.arrivals, ended, body)


async def ask_all(target: Target, bodies: list[dict[str, Any]]) -> list[Answer]:
    """Send all requests at the same time and return the answers in order. The first error cancels the others."""
    return await run_concurrently([ask(target, body) for body in bodies])


async def run_concurrently(coroutines: Iterable[Coroutine[Any, Any, _T]]) -> list[_T]:
    """Run coroutines at the same time and return their results in order. The first error cancels the others."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in coroutines]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from failed
    return [task.result() for task in tasks]
