"""Answers from an engine on this machine: render, generate, assemble.

A request ends in exactly one way: the chunk with the usage, an exception, or the generator's close. In each of them the
engine's stream has been closed, which aborts whatever still ran.
"""

import hashlib
from collections.abc import AsyncGenerator
from typing import Protocol

import anyio

from antiphon.assembly.assembler import Assembler, AssemblyOptions, ChunkHeader, ToolCalling
from antiphon.assembly.detokenizer import Vocabulary
from antiphon.backends.backend import Call, Spent
from antiphon.engine.host.client import Engine
from antiphon.engine.interface import EngineReport, EngineStats, ModelInfo, Started, StreamEvent, TokenEvent
from antiphon.errors import APIError, InternalServerError, ServiceUnavailableError
from antiphon.isolation.process_pool import PoolLoad
from antiphon.protocol.requests import CreateChatCompletion
from antiphon.protocol.responses import ChatCompletionChunk
from antiphon.rendering.renderer import Rendering
from antiphon.rendering.tool_use import AnswerTools

CLOSE_TIMEOUT = 5.0
"""Seconds that closing the engine's stream may take when the request was cancelled."""
RETRY_AFTER = 1.0
"""Seconds."""


class RequestRenderer(Protocol):
    """Turns a request into the engine's; see :class:`antiphon.rendering.isolated_renderer.IsolatedRenderer`."""

    @property
    def load(self) -> PoolLoad:
        """The requests that are prepared in processes, and that wait for one."""

    async def render(self, request: CreateChatCompletion, request_id: str, cache_salt: str) -> Rendering:
        """Raise an ``APIError`` for what cannot be rendered."""


class LocalBackend:
    """One engine and what is needed to speak with it in messages instead of tokens."""

    def __init__(self, engine: Engine, vocabulary: Vocabulary, renderer: RequestRenderer, *, variant: str = "") -> None:
        """``variant`` says what beside the engine makes answers differ, for ``system_fingerprint``."""
        self._engine = engine
        self._variant = variant
        self._vocabulary = vocabulary
        self._renderer = renderer

    @property
    def info(self) -> ModelInfo | None:
        """What runs, or None while it is starting."""
        return self._engine.info

    @property
    def stats(self) -> EngineStats | None:
        """The engine's newest counters, or None when none came yet."""
        return self._engine.stats

    @property
    def report(self) -> EngineReport:
        """What is counted and measured since the engine's first start."""
        return self._engine.report

    @property
    def ready(self) -> bool:
        """Whether a request sent now would be taken."""
        return self._engine.ready

    @property
    def failure(self) -> str | None:
        """Why it would not, a sentence that clients may read; None while it would, or before the start."""
        return self._engine.failure

    @property
    def restarts(self) -> int:
        """How often the engine was started again."""
        return self._engine.restarts

    @property
    def preparing(self) -> PoolLoad:
        """The requests that are prepared in processes, and that wait for one."""
        return self._renderer.load

    async def start(self) -> None:
        """Load the model unless it is loaded. Raises ``ServiceUnavailableError`` when it cannot be."""
        if self._engine.info is None:
            await self._engine.start()

    async def close(self) -> None:
        """End the engine."""
        await self._engine.close()

    async def stream(self, call: Call) -> AsyncGenerator[list[ChatCompletionChunk], None]:
        """Answer in chunks; see :class:`antiphon.backends.backend.Backend`."""
        info = self._engine.info
        if info is None:
            raise ServiceUnavailableError("The model is not loaded yet.", retry_after=RETRY_AFTER)
        self._engine.check_room()  # rendering may take long, and refusals are to be immediate
        rendering = await self._renderer.render(call.request, call.completion_id, call.cache_salt)
        assembler = Assembler(self._header(call, rendering, info), _options(rendering), self._vocabulary)
        # Nothing may be awaited between these lines: a generator that never began is not closed either.
        events = self._engine.generate(rendering.generate)
        try:
            async for batch in events:
                _count(call.spent, batch, len(rendering.generate.prompt_ids))
                chunks: list[ChatCompletionChunk] = []
                try:
                    done = self._assemble(batch, assembler, chunks)
                except APIError:
                    if chunks:
                        yield chunks
                    raise
                usage = chunks[-1:] if done else []
                if len(chunks) > len(usage):
                    yield chunks[: len(chunks) - len(usage)]
                if done:
                    yield usage
                    return
            raise InternalServerError("The engine ended before the answer did.")
        finally:
            await _close(events)

    def _assemble(self, events: list[StreamEvent], assembler: Assembler, chunks: list[ChatCompletionChunk]) -> bool:
        """Add to ``chunks`` what the events led to; say whether the answer has ended. Raises ``APIError``."""
        for event in events:
            step = assembler.push(event)
            for index in step.aborts:
                self._engine.abort(event.request_id, index)
            chunks += step.chunks
            if step.done:
                return True
        return False

    def _header(self, call: Call, rendering: Rendering, info: ModelInfo) -> ChunkHeader:
        digest = hashlib.sha256(f"{info.fingerprint} {self._variant}".encode()).hexdigest()
        return ChunkHeader(
            id=call.completion_id,
            created=call.created,
            model=call.request.model,
            service_tier=rendering.service_tier,
            system_fingerprint=f"fp_{digest[:10]}",
        )


def _count(spent: Spent, events: list[StreamEvent], prompt_tokens: int) -> None:
    """Note the tokens of these events for the bill."""
    for event in events:
        if isinstance(event, TokenEvent):
            spent.completion_tokens += len(event.token_ids)
        elif isinstance(event, Started):
            spent.prompt_tokens = prompt_tokens


async def _close(events: AsyncGenerator[list[StreamEvent], None]) -> None:
    with anyio.move_on_after(CLOSE_TIMEOUT, shield=True):
        await events.aclose()


def _options(rendering: Rendering) -> AssemblyOptions:
    return AssemblyOptions(
        n=rendering.generate.n,
        stop=rendering.stop,
        reasoning=rendering.reasoning,
        reasoning_open=rendering.reasoning_open,
        logprobs=rendering.top_logprobs is not None,
        tools=_tools(rendering.tools),
    )


def _tools(tools: AnswerTools | None) -> ToolCalling | None:
    if tools is None:
        return None
    return ToolCalling(
        notation=tools.notation, tools=tools.tools, opening=tools.opening, named=tools.named, legacy=tools.legacy
    )
