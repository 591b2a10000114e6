"""What every backend offers: an answer as a stream of chunks, so that nobody above knows where it came from."""

from collections.abc import AsyncGenerator
from typing import Protocol

from msgspec import Struct, field

from antiphon.engine.interface import EngineReport, EngineStats, ModelInfo
from antiphon.isolation.process_pool import PoolLoad
from antiphon.protocol.requests import CreateChatCompletion
from antiphon.protocol.responses import ChatCompletionChunk


class Spent(Struct):
    """The tokens of one answer so far: its backend counts them, its bill reads them when the answer breaks off."""

    prompt_tokens: int = 0
    """Of the whole prompt, from when the engine begins to compute it."""
    completion_tokens: int = 0
    """Of all choices."""


class Call(Struct, frozen=True, kw_only=True):
    """One request as the service hands it down: ids and clock are arguments."""

    completion_id: str
    created: int
    """Unix seconds; the same in every chunk."""
    request: CreateChatCompletion
    cache_salt: str = ""
    """Whose cached prefixes may be shared: the project."""
    spent: Spent = field(default_factory=Spent)
    """Filled in while the answer comes."""


class Backend(Protocol):
    """Who answers for one model."""

    @property
    def info(self) -> ModelInfo | None:
        """What runs, or None while it is starting."""

    @property
    def stats(self) -> EngineStats | None:
        """The newest counters, or None when none came yet."""

    @property
    def report(self) -> EngineReport:
        """What is counted and measured since the first start."""

    @property
    def ready(self) -> bool:
        """Whether a request sent now would be taken."""

    @property
    def failure(self) -> str | None:
        """Why it would not, a sentence that clients may read; None while it would, or before the start."""

    @property
    def restarts(self) -> int:
        """How often its engine was started again."""

    @property
    def preparing(self) -> PoolLoad:
        """The requests that are prepared in processes, and that wait for one."""

    def stream(self, call: Call) -> AsyncGenerator[list[ChatCompletionChunk], None]:
        """Answer in chunks, those together that are ready together; the last one, alone, has no choices but the usage.

        The generator raises an ``APIError`` before its first chunk when the request cannot be taken, later when the
        engine fails; closing it (``aclose``) aborts the request within one step.
        """

    async def start(self) -> None:
        """Make it ready. Raises ``ServiceUnavailableError`` when it cannot be."""

    async def close(self) -> None:
        """Release everything; nothing runs afterwards."""
