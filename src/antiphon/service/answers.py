"""One answer: its chunks as a whole or as a stream, as the request asks."""

import os
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import msgspec

from antiphon.assembly.collector import Collector
from antiphon.protocol.rate_limits import RateLimitState
from antiphon.protocol.requests import CreateChatCompletion
from antiphon.protocol.responses import ChatCompletion, ChatCompletionChunk

OBFUSCATION_BLOCK = 32
"""Bytes of which the JSON of a chunk's choices and its obfuscation together are a multiple: most tokens look alike."""
ID_LENGTH = 29
"""Random characters of a completion's id, about 170 bits."""

_BASE62 = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BYTE_TO_BASE62 = bytes(_BASE62[byte % 62] for byte in range(256))
_encode = msgspec.json.Encoder().encode


def new_completion_id(random_bytes: Callable[[int], bytes] = os.urandom) -> str:
    """Return ``chatcmpl-`` and random letters and digits."""
    return f"chatcmpl-{_base62(random_bytes(ID_LENGTH))}"


class Answer:
    """The answer to a request that was let in. Its chunks are read once, by one of the two methods."""

    def __init__(
        self,
        request: CreateChatCompletion,
        chunks: AsyncGenerator[ChatCompletionChunk, None],
        *,
        rate_limits: RateLimitState,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._request = request
        self._chunks = chunks
        self._random_bytes = random_bytes
        self.rate_limits = rate_limits
        """What is left of the caller's limits."""

    async def completion(self) -> ChatCompletion:
        """Return it as a whole. Raises ``APIError``."""
        collector = Collector()
        async with aclosing(self._chunks) as chunks:
            async for chunk in chunks:
                collector.add(chunk)
        return collector.completion()

    async def stream(self) -> AsyncGenerator[ChatCompletionChunk, None]:
        """Return it in chunks as ``stream_options`` asks; closing the generator aborts the request.

        Raises ``APIError``: before the first chunk when the request cannot be taken, later when the engine fails.
        """
        async with aclosing(self._chunks) as chunks:
            async for chunk in chunks:
                if chunk.choices:
                    yield self._shaped(chunk)
                elif self._request.includes_usage:
                    yield chunk

    def _shaped(self, chunk: ChatCompletionChunk) -> ChatCompletionChunk:
        if self._request.includes_usage:
            chunk = msgspec.structs.replace(chunk, usage=None)
        if self._request.includes_obfuscation:
            size = OBFUSCATION_BLOCK - len(_encode(chunk.choices)) % OBFUSCATION_BLOCK
            chunk = msgspec.structs.replace(chunk, obfuscation=_base62(self._random_bytes(size)))
        return chunk


def _base62(data: bytes) -> str:
    return data.translate(_BYTE_TO_BASE62).decode("ascii")
