"""A lean client that measures servers: it notes when text arrives, and reads what arrived only when it is asked.

It speaks HTTP itself, over httptools' parser, since a whole HTTP library would take the processor's time from the
server that is measured beside it. One connection for each request; reference: RFC 9112, and "Streaming" of the API.
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
"""Characters of an answer that is none."""
_TEXT: Final = re.compile(rb'"(?:content|reasoning_content|reasoning|arguments)": ?"[^"]')
"""The beginning of a piece of text that is not empty."""
_LONGEST: Final = 32
"""Bytes that such a beginning has at most."""


class LoadError(Exception):
    """A server gave no answer that can be measured."""


class Target(Struct, frozen=True, kw_only=True):
    """A server, the model to ask there, and fields that go with every request of free text."""

    host: str
    port: int
    model: str = ""
    path: str = ""
    """What stands before ``/v1/chat/completions``."""
    tls: bool = False
    api_key: str | None = None
    fields: dict[str, Any] = {}

    @classmethod
    def at(cls, url: str, **how: Any) -> "Target":  # noqa: ANN401 (the other attributes)
        """Give the target at an address, with or without ``/v1`` at its end. Raises ``ValueError`` for no address."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url} is no address of a server")
        tls = parts.scheme == "https"
        path = parts.path.rstrip("/").removesuffix("/v1")
        return cls(host=parts.hostname, port=parts.port or (443 if tls else 80), path=path, tls=tls, **how)

    def request(self, body: dict[str, Any]) -> bytes:
        """Write the POST of a streamed completion."""
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
    """What was known of the prompt."""

    cached_tokens: int | None = 0


class CompletionDetails(Struct):
    """What became of a prediction."""

    accepted_prediction_tokens: int | None = 0
    rejected_prediction_tokens: int | None = 0


class Usage(Struct):
    """What a server counted."""

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
        """When each piece of text came."""
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
        """What the server counted; a server that does not count has a token for each piece of text."""
        told = [chunk.usage for chunk in self._chunks if chunk.usage is not None]
        return told[-1] if told else Usage(completion_tokens=len(self.arrivals))

    @property
    def tokens(self) -> int:
        """Tokens of the answer."""
        return self.usage.completion_tokens

    @property
    def choices(self) -> int:
        """How many choices have come."""
        return len({choice.index for chunk in self._chunks for choice in chunk.choices})

    @property
    def text(self) -> str:
        """The first choice's answer."""
        choices = [choice for chunk in self._chunks for choice in chunk.choices if choice.index == 0]
        return "".join(choice.delta.content or "" for choice in choices if choice.delta is not None)


class Watch:
    """Looks at an answer while it comes: hears of its first text, and may say when enough has come."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.enough = asyncio.Event()


class FirstOnly(Watch):
    """Goes away when the first text has come."""

    def __init__(self) -> None:
        super().__init__()
        self.enough.set()


class _Reception:
    """What httptools' parser tells of a response."""

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
    """Send a chat completion and read its stream, to its end or until who watches has enough.

    Raises :class:`LoadError` when there is no whole answer.
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
    reception = _Reception()
    parser = httptools.HttpResponseParser(reception)
    try:
        writer.write(request)
        while not reception.complete and (data := await reader.read(_READ)):
            reception.now = time.perf_counter()
            parser.feed_data(data)
            if reception.arrivals:
                watch.started.set()
                if watch.enough.is_set():
                    return Answer(sent, reception.arrivals, reception.now, b"")
        ended = time.perf_counter()
    finally:
        writer.close()
    body = bytes(reception.body)
    if parser.get_status_code() != _OK or not reception.arrivals or not body.rstrip().endswith(b"data: [DONE]"):
        raise LoadError(f"no whole answer: {body[-_SHOWN:].decode(errors='replace').strip() or 'nothing came'}")
    return Answer(sent, reception.arrivals, ended, body)


async def ask_all(target: Target, bodies: list[dict[str, Any]]) -> list[Answer]:
    """Send all at the same time; give the answers in order. When one fails the others are given up."""
    return await together([ask(target, body) for body in bodies])


async def together(coroutines: Iterable[Coroutine[Any, Any, _T]]) -> list[_T]:
    """Run all at the same time; give what they return, in order. The first that fails ends the others."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in coroutines]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from failed
    return [task.result() for task in tasks]
