"""The interface of a backend: it answers a call with a stream of chunks."""

from collections.abc import AsyncGenerator
from typing import Literal, Protocol

from msgspec import Struct

from antiphon.protocol.requests import CreateChatCompletion
from antiphon.protocol.responses import ChatCompletionChunk

Modality = Literal["text"]
Validity = Literal["valid", "invalid", "unknown"]
"""Whether a finished answer is valid against the keywords that were not enforced."""


class Spent(Struct, frozen=True):
    """The tokens of one answer so far. The service charges them when the answer ends before its usage chunk."""

    prompt_tokens: int = 0
    """Tokens of the whole prompt once the engine computes it; 0 before, or if the backend does not count."""
    completion_tokens: int = 0
    """Tokens of all choices."""


class AnswerPart(Struct, frozen=True):
    """Chunks that are ready together. A part without chunks only updates ``spent``."""

    chunks: list[ChatCompletionChunk]
    spent: Spent = Spent()
    unenforced: tuple[str, ...] = ()
    """In the first part: the keywords of schemas that are not enforced, by their paths in the request."""
    validity: Validity | None = None
    """In the last part of an answer with such keywords."""


AnswerParts = AsyncGenerator[AnswerPart, None]


class Call(Struct, frozen=True, kw_only=True):
    """One request with its id and its time."""

    completion_id: str
    created: int
    """Unix seconds; the same in every chunk."""
    request: CreateChatCompletion
    cache_salt: str = ""
    """The id of the project: only requests with the same salt share cached prefixes."""


class BackendStatus(Struct, frozen=True, kw_only=True):
    """The state and the abilities of a backend now."""

    state: Literal["starting", "ready", "unavailable"]
    """``unavailable``: the backend was ready before and is not now."""
    reason: str | None = None
    """The reason for ``unavailable``: a sentence that clients may read."""
    abilities: frozenset[str]
    """Names of the request fields that it honours. A request with another field goes to another backend."""
    context: int | None = None
    """Tokens of prompt and answer together; None while unknown."""
    modalities: tuple[Modality, ...] = ("text",)
    """Kinds of content that messages may have."""

    @property
    def ready(self) -> bool:
        """Whether the backend accepts requests now."""
        return self.state == "ready"


class Backend(Protocol):
    """Answers for one model."""

    def status(self) -> BackendStatus:
        """Return the state and the abilities now, without waiting."""

    def stream(self, call: Call) -> AnswerParts:
        """Yield the answer in parts. The last chunk, alone in its part, has the usage and no choices.

        The generator raises an ``APIError``: before its first chunk when it refuses the request, later when the
        backend fails. Closing it (``aclose``) aborts the request within one step.
        """

    async def start(self) -> None:
        """Start the backend and wait until it is ready. Raises ``ServiceUnavailableError`` when it cannot start."""

    async def close(self) -> None:
        """Stop the backend and release its resources."""
