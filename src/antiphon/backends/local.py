"""The backend of an engine on this machine: render, generate, assemble.

A request ends with the usage chunk, an exception, or the close of the generator. Each of these closes the engine's
stream, which aborts the choices that still run.
"""

import hashlib
from collections.abc import AsyncGenerator
from typing import Any, Protocol

import anyio

from antiphon.assembly.assembler import Assembler, ChunkHeader
from antiphon.assembly.choice import AssemblyOptions
from antiphon.assembly.detokenizer import Vocabulary
from antiphon.backends.answer_validity import AnswerValidity
from antiphon.backends.backend import AnswerPart, AnswerParts, BackendStatus, Call, Spent
from antiphon.engine.host.client import Engine
from antiphon.engine.interface import EngineReport, ModelInfo, Started, StreamEvent, TokenEvent
from antiphon.errors import APIError, InternalServerError, ServiceUnavailableError
from antiphon.isolation.process_pool import PoolLoad
from antiphon.protocol.requests import CreateChatCompletion
from antiphon.protocol.responses import ChatCompletionChunk
from antiphon.rendering.render_job import Rendering

EngineEvents = AsyncGenerator[list[StreamEvent], None]
ALL_FIELDS = frozenset(CreateChatCompletion.__struct_fields__)
"""The renderer, the engine and the assembly honour every field that the protocol accepts."""
CLOSE_TIMEOUT = 5.0
"""Seconds after which a cancelled request no longer waits for its engine stream to close."""


class RequestRenderer(Protocol):
    """Turns a request into the engine's; see :class:`antiphon.rendering.isolated_renderer.IsolatedRenderer`."""

    @property
    def load(self) -> PoolLoad:
        """The numbers of requests that are rendered now and that wait for a process."""

    async def render(self, request: CreateChatCompletion, request_id: str, cache_salt: str) -> Rendering:
        """Return the request for the engine. Raises an ``APIError`` when the request cannot be rendered."""

    async def is_valid(self, schema: dict[str, Any], texts: list[str]) -> bool | None:
        """Return whether finished texts are valid; None if that cannot be found out."""


class LocalBackend:
    """Answers with one engine: it turns messages into tokens and tokens into chunks."""

    def __init__(self, engine: Engine, vocabulary: Vocabulary, renderer: RequestRenderer, *, variant: str = "") -> None:
        """``variant`` names settings outside the engine that change answers; ``system_fingerprint`` includes it."""
        self._engine = engine
        self._variant = variant
        self._vocabulary = vocabulary
        self._renderer = renderer

    @property
    def report(self) -> EngineReport:
        """Counts and measurements since the engine's first start."""
        return self._engine.report

    @property
    def preparing(self) -> PoolLoad:
        """The numbers of requests that are rendered now and that wait for a process."""
        return self._renderer.load

    def status(self) -> BackendStatus:
        """Return the state of the engine now."""
        info, ready = self._engine.info, self._engine.ready
        return BackendStatus(
            state="ready" if ready else "starting" if info is None else "unavailable",
            reason=None if ready else self._engine.failure,
            abilities=ALL_FIELDS,
            context=None if info is None else info.max_model_len,
        )

    async def start(self) -> None:
        """Load the model unless it is loaded. Raises ``ServiceUnavailableError`` when that fails."""
        if self._engine.info is None:
            await self._engine.start()

    async def close(self) -> None:
        """Close the engine."""
        await self._engine.close()

    async def stream(self, call: Call) -> AnswerParts:
        """Render, generate and assemble; see :class:`antiphon.backends.backend.Backend`."""
        info = self._engine.info
        if info is None:
            raise ServiceUnavailableError("The model is not loaded yet.")
        self._engine.check_room()  # a full engine refuses at once, before rendering, which may take long
        rendering = await self._renderer.render(call.request, call.completion_id, call.cache_salt)
        assembler = Assembler(self._header(call, rendering, info), _options(call, rendering), self._vocabulary)
        validity = AnswerValidity(rendering.unenforced)
        if rendering.unenforced.paths:
            yield AnswerPart([], unenforced=rendering.unenforced.paths)
        # No await between these lines: a cancellation there would leave the generator open.
        events = self._engine.generate(rendering.generate)
        try:
            spent, prompt_tokens = Spent(), len(rendering.generate.prompt_ids)
            async for batch in events:
                spent = _add_tokens(spent, batch, prompt_tokens)
                chunks: list[ChatCompletionChunk] = []
                try:
                    done = self._assemble(batch, assembler, chunks)
                except APIError:
                    yield AnswerPart(chunks, spent)
                    raise
                validity.add(chunks)
                usage = chunks[-1:] if done else []
                yield AnswerPart(chunks[: len(chunks) - len(usage)], spent)
                if done:
                    yield AnswerPart(usage, spent, validity=await validity.judge(self._renderer.is_valid))
                    return
            raise InternalServerError("The engine ended before the answer did.")
        finally:
            await _close(events)

    def _assemble(self, events: list[StreamEvent], assembler: Assembler, chunks: list[ChatCompletionChunk]) -> bool:
        """Append the events' chunks to ``chunks``; return whether the answer has ended. Raises ``APIError``."""
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


def _add_tokens(spent: Spent, events: list[StreamEvent], prompt_tokens: int) -> Spent:
    """Return ``spent`` with the tokens of these events added."""
    begun = spent.prompt_tokens or any(isinstance(event, Started) for event in events)
    generated = sum(len(event.token_ids) for event in events if isinstance(event, TokenEvent))
    return Spent(prompt_tokens if begun else 0, spent.completion_tokens + generated)


async def _close(events: EngineEvents) -> None:
    with anyio.move_on_after(CLOSE_TIMEOUT, shield=True):
        await events.aclose()


def _options(call: Call, rendering: Rendering) -> AssemblyOptions:
    return AssemblyOptions(
        n=rendering.generate.n,
        stop=rendering.stop,
        min_tokens=rendering.generate.sampling.min_tokens,
        includes_stop=rendering.includes_stop,
        prompt_token_ids=_token_ids(rendering) if call.request.return_token_ids else None,
        prompt_logprobs=rendering.generate.prompt_logprobs is not None,
        shows_special_tokens=rendering.shows_special_tokens,
        reasoning=rendering.reasoning,
        reasoning_open=rendering.reasoning_open,
        logprobs=rendering.top_logprobs is not None,
        tools=rendering.tools,
        running_usage=len(rendering.generate.prompt_ids) if call.request.includes_running_usage else None,
        content=rendering.content,
    )


def _token_ids(rendering: Rendering) -> list[int]:
    """Return the tokens of the prompt; the keys of media are negative and no tokens."""
    return [key for key in rendering.generate.prompt_ids if key >= 0]
