"""What every backend offers: an answer as a stream of chunks, so that no layer above knows where it came from."""

from collections.abc import AsyncGenerator
from typing import Literal, Protocol

from msgspec import Struct

from antiphon.protocol.requests import CreateChatCompletion
from antiphon.protocol.responses import ChatCompletionChunk

Modality = Literal["text"]


class Spent(Struct, frozen=True):
    """The tokens of one answer so far. They are charged when the answer ends before its usage."""

    prompt_tokens: int = 0
    """Of the whole prompt, once the engine computes it; 0 before, and where the backend does not count."""
    completion_tokens: int = 0
    """Of all choices."""


class AnswerPart(Struct, frozen=True):
    """Chunks that are ready together. A part without chunks says only what was spent."""

    chunks: list[ChatCompletionChunk]
    spent: Spent = Spent()


AnswerParts = AsyncGenerator[AnswerPart, None]


class Call(Struct, frozen=True, kw_only=True):
    """One request as the service hands it down: ids and clock are arguments."""

    completion_id: str
    created: int
    """Unix seconds; the same in every chunk."""
    request: CreateChatCompletion
    cache_salt: str = ""
    """Requests share cached prefixes within one salt: the project."""


class BackendStatus(Struct, frozen=True, kw_only=True):
    """What a backend can do now."""

    state: Literal["starting", "ready", "unavailable"]
    """``unavailable``: it was ready before."""
    reason: str | None = None
    """Why it is unavailable, a sentence that clients may read."""
    abilities: frozenset[str]
    """Names of the request fields that it honours. A request with another field goes to another backend."""
    context: int | None = None
    """Tokens of prompt and answer together; None while it is unknown."""
    modalities: tuple[Modality, ...] = ("text",)
    """What messages may contain."""

    @property
    def ready(self) -> bool:
        """Whether a request sent now would be taken."""
        return self.state == "ready"


class Backend(Protocol):
    """Answers for one model."""

    def status(self) -> BackendStatus:
        """Say what it can do now. Never waits."""

    def stream(self, call: Call) -> AnswerParts:
        """Answer in parts. The last chunk, alone in its part, has no choices but the usage.

        The generator raises an ``APIError`` before its first chunk when the request cannot be taken, later when the
        backend fails. Closing it (``aclose``) aborts the request within one step.
        """

    async def start(self) -> None:
        """Make it ready. Raises ``ServiceUnavailableError`` when it cannot be."""

    async def close(self) -> None:
        """Release everything; nothing runs afterwards."""
