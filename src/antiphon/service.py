"""The life of a request: who answers it, what the client sees of the answer, and the one line that is logged about it.

Knows nothing of HTTP, tokens or engines. Both :meth:`Service.create` and :meth:`Service.stream` read the same stream of
the backend and close it exactly once, whatever happens to their consumer.
"""

import os
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Literal

import msgspec
import structlog
from msgspec import Struct

from antiphon.assembly.collector import Collector
from antiphon.backends.base import Call
from antiphon.backends.router import Router
from antiphon.errors import APIError
from antiphon.protocol.requests import CreateChatCompletion
from antiphon.protocol.responses import ChatCompletion, ChatCompletionChunk, CompletionUsage, Model, ModelList
from antiphon.protocol.validation import shorten

OBFUSCATION_BLOCK = 32
"""Bytes of which the JSON of a chunk's choices and its obfuscation together are a multiple: most tokens look alike."""
ID_LENGTH = 29
"""Random characters of a completion's id, about 170 bits."""

_BASE62 = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BYTE_TO_BASE62 = bytes(_BASE62[byte % 62] for byte in range(256))
_encode = msgspec.json.Encoder().encode


class RequestRecord(Struct, frozen=True, kw_only=True):
    """What is known of a request at its end; never what was said. Token counts are None when it did not finish."""

    completion_id: str
    model: str
    stream: bool
    outcome: Literal["completed", "failed", "cancelled"]
    error: str | None
    """The error's code, or its class when it is none of ours."""
    prompt_tokens: int | None
    completion_tokens: int | None
    cached_tokens: int | None
    reasoning_tokens: int | None
    finish_reasons: list[str]
    """Of the choices that ended, in the order they did."""
    time_to_first_token: float | None
    """Seconds."""
    duration: float
    """Seconds."""


def log_request(record: RequestRecord) -> None:
    """Log it as one structured line; the request's id comes from the context variables that the server bound."""
    structlog.get_logger(__name__).info("request", **msgspec.structs.asdict(record))


def new_completion_id(random_bytes: Callable[[int], bytes] = os.urandom) -> str:
    """Return ``chatcmpl-`` and random letters and digits."""
    return f"chatcmpl-{_base62(random_bytes(ID_LENGTH))}"


class Service:
    """The use cases of the API over a router. Clocks, ids, randomness and the log are arguments."""

    def __init__(
        self,
        router: Router,
        *,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.perf_counter,
        ids: Callable[[], str] = new_completion_id,
        random_bytes: Callable[[int], bytes] = os.urandom,
        log: Callable[[RequestRecord], None] = log_request,
    ) -> None:
        """``clock`` is in Unix seconds, ``timer`` in seconds from any start; ``random_bytes`` gives that many."""
        self._router = router
        self._clock = clock
        self._timer = timer
        self._ids = ids
        self._random_bytes = random_bytes
        self._log = log
        self._created = int(clock())

    @property
    def router(self) -> Router:
        """The backends, for their counters."""
        return self._router

    @property
    def ready(self) -> bool:
        """Whether requests are taken."""
        return self._router.ready

    async def start(self) -> None:
        """Make all models ready. Raises ``ServiceUnavailableError``."""
        await self._router.start()
        self._created = int(self._clock())

    async def close(self) -> None:
        """Release everything."""
        await self._router.close()

    def models(self) -> ModelList:
        """List the served models."""
        return ModelList(data=[self.model(name) for name in self._router])

    def model(self, name: str) -> Model:
        """Return one served model. Raises ``ModelNotFoundError``."""
        self._router.backend(name)
        return Model(id=name, created=self._created)

    async def create(self, request: CreateChatCompletion, *, cache_salt: str = "") -> ChatCompletion:
        """Answer as a whole; cancelling the call aborts the request. Raises ``APIError``."""
        collector = Collector()
        async with aclosing(self._answer(request, cache_salt, stream=False)) as chunks:
            async for chunk in chunks:
                collector.add(chunk)
        return collector.completion()

    async def stream(
        self, request: CreateChatCompletion, *, cache_salt: str = ""
    ) -> AsyncGenerator[ChatCompletionChunk, None]:
        """Answer in chunks as ``stream_options`` asks; closing the generator aborts the request.

        Raises ``APIError``: before the first chunk when the request cannot be taken, later when the engine fails.
        """
        async with aclosing(self._answer(request, cache_salt, stream=True)) as chunks:
            async for chunk in chunks:
                if chunk.choices:
                    yield self._shaped(chunk, request)
                elif request.includes_usage:
                    yield chunk

    def _shaped(self, chunk: ChatCompletionChunk, request: CreateChatCompletion) -> ChatCompletionChunk:
        if request.includes_usage:
            chunk = msgspec.structs.replace(chunk, usage=None)
        if request.includes_obfuscation:
            size = OBFUSCATION_BLOCK - len(_encode(chunk.choices)) % OBFUSCATION_BLOCK
            chunk = msgspec.structs.replace(chunk, obfuscation=_base62(self._random_bytes(size)))
        return chunk

    async def _answer(
        self, request: CreateChatCompletion, cache_salt: str, *, stream: bool
    ) -> AsyncGenerator[ChatCompletionChunk, None]:
        """Pass on the backend's chunks and log the request when they end, fail or are no longer wanted."""
        call = Call(completion_id=self._ids(), created=int(self._clock()), request=request, cache_salt=cache_salt)
        observation = _Observation(self._timer)
        with self._logged(call, observation, stream=stream):
            backend = self._router.backend(request.model)
            async with aclosing(backend.stream(call)) as chunks:
                async for chunk in chunks:
                    observation.see(chunk)
                    yield chunk

    @contextmanager
    def _logged(self, call: Call, observation: "_Observation", *, stream: bool) -> Iterator[None]:
        error: str | None = None
        try:
            yield
        except Exception as caught:
            error = (caught.code if isinstance(caught, APIError) else None) or type(caught).__name__
            raise
        finally:
            self._log(observation.record(call, error, stream=stream))


class _Observation:
    """What a request's log line tells of its chunks."""

    def __init__(self, timer: Callable[[], float]) -> None:
        self._timer = timer
        self._begin = timer()
        self._first: float | None = None
        self._usage: CompletionUsage | None = None
        self._finish_reasons: list[str] = []

    def see(self, chunk: ChatCompletionChunk) -> None:
        """Take note of a chunk."""
        if self._first is None:
            self._first = self._timer()
        if isinstance(chunk.usage, CompletionUsage):
            self._usage = chunk.usage
        self._finish_reasons += [choice.finish_reason for choice in chunk.choices if choice.finish_reason]

    def record(self, call: Call, error: str | None, *, stream: bool) -> RequestRecord:
        """Return what is logged, now. An answer whose usage came is complete, whether or not that chunk was taken."""
        usage = self._usage
        unfailed: Literal["completed", "cancelled"] = "completed" if usage else "cancelled"
        return RequestRecord(
            completion_id=call.completion_id,
            model=shorten(call.request.model),
            stream=stream,
            outcome="failed" if error else unfailed,
            error=error,
            prompt_tokens=usage.prompt_tokens if usage else None,
            completion_tokens=usage.completion_tokens if usage else None,
            cached_tokens=usage.prompt_tokens_details.cached_tokens if usage else None,
            reasoning_tokens=usage.completion_tokens_details.reasoning_tokens if usage else None,
            finish_reasons=self._finish_reasons,
            time_to_first_token=None if self._first is None else self._first - self._begin,
            duration=self._timer() - self._begin,
        )


def _base62(data: bytes) -> str:
    return data.translate(_BYTE_TO_BASE62).decode("ascii")
