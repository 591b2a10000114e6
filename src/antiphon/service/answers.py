"""One answer, as a whole or as a stream of chunks."""

import os
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import msgspec
from msgspec import UNSET

from antiphon.assembly.collector import Collector
from antiphon.protocol.base62 import base62
from antiphon.protocol.path_header import UNENFORCED, path_header
from antiphon.protocol.rate_limits import RateLimitState, rate_limit_headers
from antiphon.protocol.requests import CreateChatCompletion
from antiphon.protocol.responses import ChatCompletion, ChatCompletionChunk
from antiphon.protocol.sse import ChunkEncoder

OBFUSCATION_BLOCK = 32
"""The size in bytes of a chunk's choices and obfuscation together is a multiple of this, which hides most tokens'
lengths."""
PADDING_BATCH = 1024
"""Bytes of padding that are generated at a time, enough for 60 chunks."""
ID_LENGTH = 29
"""Random characters of a completion's id: about 170 bits."""


def new_completion_id(random_bytes: Callable[[int], bytes] = os.urandom) -> str:
    """Return ``chatcmpl-`` and random letters and digits."""
    return f"chatcmpl-{base62(random_bytes(ID_LENGTH)).decode('ascii')}"


class Padding:
    """Random letters and digits that pad chunks to a multiple of :data:`OBFUSCATION_BLOCK`."""

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        self._random_bytes = random_bytes
        self._drawn = b""
        self._used = 0

    def fill(self, size: int) -> bytes:
        """Return the padding of a chunk whose choices take ``size`` bytes: 1 to :data:`OBFUSCATION_BLOCK` more."""
        begin = self._used
        end = begin + OBFUSCATION_BLOCK - size % OBFUSCATION_BLOCK
        if end > len(self._drawn):
            self._drawn = base62(self._random_bytes(PADDING_BATCH))
            begin, end = 0, end - begin
        self._used = end
        return self._drawn[begin:end]


class Answer:
    """The answer to an admitted request. Call one of its reading methods, once."""

    def __init__(
        self,
        request: CreateChatCompletion,
        batches: AsyncGenerator[list[ChatCompletionChunk], None],
        *,
        rate_limits: RateLimitState,
        unenforced: Callable[[], tuple[str, ...]] = tuple,
        collector: Collector | None = None,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """``collector`` has collected each batch when it is read; a streamed answer needs none."""
        self._collector = collector
        self._request = request
        self._batches = batches
        self._random_bytes = random_bytes
        self.rate_limits = rate_limits
        """The rest of the caller's rate limits."""
        self._unenforced = unenforced

    def headers(self) -> dict[str, str]:
        """Return the headers of the answer. Once a chunk is there, they name the keywords that are not enforced."""
        return {**rate_limit_headers(self.rate_limits), **path_header(UNENFORCED, self._unenforced())}

    async def completion(self) -> ChatCompletion:
        """Return the whole answer. Raises ``APIError``."""
        return (await self._collected()).completion()

    async def body(self) -> bytes:
        """Return the whole answer as JSON. Raises ``APIError``."""
        return (await self._collected()).body()

    async def _collected(self) -> Collector:
        assert self._collector is not None, "a streamed answer is not collected"
        async with aclosing(self._batches) as batches:
            async for _ in batches:
                pass
        return self._collector

    async def stream(self) -> AsyncGenerator[list[ChatCompletionChunk], None]:
        """Yield the chunks in batches, with the usage if ``stream_options.include_usage`` is true.

        Closing the generator aborts the request. Raises ``APIError``: before the first chunk when the request is
        refused, later when the backend fails.
        """
        with_usage = self._request.includes_usage
        async with aclosing(self._batches) as batches:
            async for chunks in batches:
                if with_usage:
                    yield [_with_usage(chunk) for chunk in chunks]
                elif chunks[-1].choices:
                    yield chunks

    def encoder(self) -> ChunkEncoder:
        """Return the encoder of the chunks; it pads them unless ``include_obfuscation`` is false."""
        return ChunkEncoder(Padding(self._random_bytes).fill if self._request.includes_obfuscation else None)


def _with_usage(chunk: ChatCompletionChunk) -> ChatCompletionChunk:
    """Return the chunk with its usage: null, but for the last one and with ``continuous_usage_stats``."""
    return msgspec.structs.replace(chunk, usage=None) if chunk.usage is UNSET else chunk
