"""A scripted engine: the engine's side of a conversation written down as a list, for tests of everything above it.

    engine = ScriptedEngine([*says("Hello"), *ends()])
    backend = scripted_backend(engine)

A script is a list of events, :class:`Pause`, :class:`Hang` and exceptions, played in order for one request. The events'
``request_id`` is filled in. As a real engine does, an aborted choice gives no more tokens and one ``Finished`` with
reason ``abort``; ``engine.aborts`` records what was aborted, a stream closed before its end as ``(request_id, None)``.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any

import msgspec
from msgspec import Struct

from antiphon.backends.local import LocalBackend
from antiphon.chat_formats.chat_format import ReasoningMarkers
from antiphon.engine.host.latencies import Latencies
from antiphon.engine.interface import (
    EngineReport,
    EngineStats,
    Finished,
    FinishReason,
    GenerateRequest,
    ModelInfo,
    PromptLogprobs,
    SamplingParams,
    Started,
    StreamEvent,
    TokenEvent,
    TokenLogprobs,
    TokenSegment,
)
from antiphon.isolation.process_pool import PoolLoad
from antiphon.protocol.requests import CreateChatCompletion
from antiphon.rendering.render_job import Rendering
from antiphon.rendering.unenforced import NOTHING, Unenforced

MODEL_INFO = ModelInfo(
    description="scripted",
    n_params=1,
    model_size=1,
    n_vocab=260,
    n_embd=8,
    n_ctx_train=1024,
    max_model_len=1024,
    ctx_size=1024,
    max_num_seqs=8,
    max_num_batched_tokens=512,
    prefill_chunk_size=128,
    threads=1,
    threads_batch=1,
    n_gpu_layers=0,
    flash_attn=False,
    engine_version="scripted 1",
    system_info="",
    fingerprint="0123456789abcdef",
)
STATS = EngineStats(
    running=0,
    waiting=0,
    kv_cells_used=0,
    kv_cells_cached=0,
    kv_cells_total=1024,
    steps=0,
    prompt_tokens=0,
    cached_tokens=0,
    generated_tokens=0,
    preemptions=0,
)


class Pause(Struct, frozen=True):
    """Wait so many seconds; 0 only gives way to other tasks."""

    seconds: float = 0.0


class Hang(Struct, frozen=True):
    """Give nothing more until the request is aborted or its stream closed."""


Item = StreamEvent | Pause | Hang | Exception
Script = Sequence[Item]


def says(text: str | bytes, *, index: int = 0, tokens_per_event: int = 1) -> list[Item]:
    """Return the token events of ``text`` in :class:`ByteVocabulary`: one token per byte."""
    ids = list(text.encode() if isinstance(text, str) else text)
    size = tokens_per_event
    return [TokenEvent(request_id="", index=index, token_ids=ids[at : at + size]) for at in range(0, len(ids), size)]


def ends(
    reason: FinishReason = "stop",
    *,
    index: int = 0,
    prompt_tokens: int = 7,
    completion_tokens: int = 0,
    cached_tokens: int = 0,
    message: str = "",
) -> list[Item]:
    """Return the one Finished of a choice; ``completion_tokens`` 0 is filled in with the tokens given so far."""
    return [
        Finished(
            request_id="",
            index=index,
            reason=reason,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            cached_tokens=cached_tokens,
            message=message,
        )
    ]


def echo(request: GenerateRequest) -> Script:
    """Answer every choice with the prompt's own tokens: a script for tests that send many requests."""
    script: list[Item] = [Started(request_id="", cached_tokens=0)]
    for index in range(request.n):
        script += [TokenEvent(request_id="", index=index, token_ids=[token]) for token in request.prompt_ids]
        script += ends(index=index, prompt_tokens=len(request.prompt_ids))
    return script


class ScriptedEngine:
    """Plays a script per request: the same for all, one made from each request, or the next of a list of scripts."""

    def __init__(
        self,
        script: Script | Callable[[GenerateRequest], Script] = echo,
        *,
        scripts: Sequence[Script] = (),
        refusal: Exception | None = None,
        info: ModelInfo | None = MODEL_INFO,
        together: int = 1,
    ) -> None:
        """``together``: so many events come at a time, the last ones before the end or an exception maybe fewer."""
        self._script = script
        self._together = together
        self._scripts = list(scripts)
        self.refusal = refusal
        """Raised by ``generate`` before any event, as when the waiting queue is full."""
        self.full: Exception | None = None
        """Raised by ``check_room``."""
        self._loaded = info
        self._aborted: dict[str, set[int | None]] = {}
        self._wake: dict[str, asyncio.Event] = {}
        self.info: ModelInfo | None = info
        self.stats: EngineStats | None = STATS
        self.restarts = 0
        self.latencies = Latencies(clock=lambda: 0.0)
        self.ready = info is not None
        self.failure: str | None = None
        self.restarts = 0
        self.requests: list[GenerateRequest] = []
        self.aborts: list[tuple[str, int | None]] = []
        self.ended: list[str] = []
        """Requests that finished or failed on their own: none of them is in ``aborts`` with index None."""
        self.closed = 0

    @property
    def running(self) -> int:
        """Streams that are open now: 0 when nothing leaks."""
        return len(self._aborted)

    @property
    def report(self) -> EngineReport:
        """Report what a test has set."""
        return EngineReport(
            stats=self.stats,
            restarts=self.restarts,
            inter_token_latency=self.latencies.inter_token,
            queue_time=self.latencies.queue_time,
        )

    def check_room(self) -> None:
        """Raise ``full``, as when the waiting queue is full before a request is rendered."""
        if self.full is not None:
            raise self.full

    async def start(self) -> ModelInfo:
        """Be ready."""
        self.info = self._loaded or MODEL_INFO
        self.ready = True
        return self.info

    def abort(self, request_id: str, index: int | None = None) -> None:
        """Record the abort and end the choice."""
        self.aborts.append((request_id, index))
        if request_id in self._aborted:
            self._aborted[request_id].add(index)
            self._wake[request_id].set()

    async def close(self) -> None:
        """Count the call."""
        self.ready = False
        self.closed += 1

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[list[StreamEvent], None]:
        """Play the next script; closing the stream before every choice has finished records an abort."""
        if self.refusal is not None:
            raise self.refusal
        self.requests.append(request)
        self._aborted[request.request_id] = set()
        self._wake[request.request_id] = asyncio.Event()
        open_choices = set(range(request.n))
        try:
            async with aclosing(self._batched(self._play(request))) as batches:
                async for batch in batches:
                    open_choices.difference_update(event.index for event in batch if isinstance(event, Finished))
                    yield batch
        except Exception:
            open_choices.clear()
            raise
        finally:
            if open_choices:
                self.aborts.append((request.request_id, None))
            else:
                self.ended.append(request.request_id)
            del self._aborted[request.request_id], self._wake[request.request_id]

    async def _batched(self, events: AsyncGenerator[StreamEvent, None]) -> AsyncGenerator[list[StreamEvent], None]:
        batch: list[StreamEvent] = []
        try:
            async with aclosing(events):
                async for event in events:
                    batch.append(event)
                    if len(batch) == self._together:
                        yield batch
                        batch = []
        except Exception:
            if batch:
                yield batch
            raise
        if batch:
            yield batch

    def _next_script(self, request: GenerateRequest) -> Script:
        if self._scripts:
            return self._scripts.pop(0)
        return self._script(request) if callable(self._script) else self._script

    async def _play(self, request: GenerateRequest) -> AsyncGenerator[StreamEvent, None]:
        counts = dict.fromkeys(range(request.n), 0)
        for item in self._next_script(request):
            match item:
                case Exception():
                    raise item
                case Pause(seconds):
                    await asyncio.sleep(seconds)
                case Hang():
                    async with aclosing(self._until_aborted(request, counts)) as events:
                        async for event in events:
                            yield event
                case Started() | TokenEvent() | Finished():
                    for event in self._as_engine(item, request, counts):
                        yield event

    async def _until_aborted(
        self, request: GenerateRequest, counts: dict[int, int]
    ) -> AsyncGenerator[StreamEvent, None]:
        request_id = request.request_id
        while counts and None not in self._aborted[request_id]:
            for event in self._end_aborted(request_id, counts):
                yield event
            if counts:
                self._wake[request_id].clear()
                await self._wake[request_id].wait()
        for event in self._end_aborted(request_id, counts):
            yield event

    def _end_aborted(self, request_id: str, counts: dict[int, int]) -> list[StreamEvent]:
        aborted = self._aborted[request_id]
        indices = [index for index in counts if index in aborted or None in aborted]
        return [
            Finished(request_id=request_id, index=i, reason="abort", prompt_tokens=7, completion_tokens=counts.pop(i))
            for i in indices
        ]

    def _as_engine(self, event: StreamEvent, request: GenerateRequest, counts: dict[int, int]) -> list[StreamEvent]:
        """Fill in what a script leaves out; ``counts`` holds the choices that still run."""
        before = self._end_aborted(request.request_id, counts)
        event = msgspec.structs.replace(event, request_id=request.request_id)
        if isinstance(event, Started | PromptLogprobs):
            return [*before, event]
        if event.index not in counts:
            return before
        if isinstance(event, Finished):
            tokens = counts.pop(event.index)
            return [*before, msgspec.structs.replace(event, completion_tokens=event.completion_tokens or tokens)]
        counts[event.index] += len(event.token_ids)
        return [*before, _with_logprobs(event, request.sampling.logprobs)]


def _with_logprobs(event: TokenEvent, top: int | None) -> TokenEvent:
    if top is None or event.logprobs:
        return event
    ids = [CONTROL, *range(ord("a"), ord("z"))][:top]
    entry = TokenLogprobs(logprob=-0.5, top_ids=ids, top_logprobs=[-0.5 - rank for rank in range(len(ids))])
    return msgspec.structs.replace(event, logprobs=[entry] * len(event.token_ids))


CONTROL = 256
"""The one control token of :class:`ByteVocabulary`."""


class ByteVocabulary:
    """A token per byte, and ``<|end|>``, a control token without text."""

    def token_bytes(self, token_id: int) -> bytes:
        """Return the one byte, or nothing for the control token."""
        return b"" if token_id == CONTROL else bytes((token_id,))

    def token_text(self, token_id: int) -> str:
        """Return a printable form."""
        return "<|end|>" if token_id == CONTROL else bytes((token_id,)).decode("utf-8", "replace")


class ScriptedRenderer:
    """Renders the last message's text as the prompt, one token per byte; raises ``refusal`` when given one."""

    def __init__(
        self,
        *,
        reasoning: ReasoningMarkers | None = None,
        reasoning_open: bool = False,
        refusal: Exception | None = None,
        unenforced: Unenforced = NOTHING,
        valid: bool | None = True,
    ) -> None:
        self._unenforced = unenforced
        self._valid = valid
        self.checked: list[str] = []
        """The texts that were validated."""
        self._reasoning = reasoning
        self._reasoning_open = reasoning_open
        self._refusal = refusal
        self.load = PoolLoad()

    async def render(self, request: CreateChatCompletion, request_id: str, cache_salt: str) -> Rendering:
        """Pass on ``n``, ``stop`` and the logprobs of the request."""
        if self._refusal is not None:
            raise self._refusal
        content = getattr(request.messages[-1], "content", None)
        text = content if isinstance(content, str) else "parts"
        top = (request.top_logprobs or 0) if request.logprobs else None
        stop = (request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ())
        return Rendering(
            generate=GenerateRequest(
                request_id=request_id,
                prompt=(TokenSegment(list(text.encode())),),
                sampling=SamplingParams(max_tokens=request.max_tokens or 100, logprobs=top),
                n=request.n or 1,
                cache_salt=cache_salt,
            ),
            stop=stop,
            reasoning=self._reasoning,
            reasoning_open=self._reasoning_open,
            top_logprobs=top,
            unenforced=self._unenforced,
            service_tier="default",
        )

    async def is_valid(self, schema: dict[str, Any], texts: list[str]) -> bool | None:
        """Return the given validity; raise for a schema that is not of the request."""
        assert schema in (self._unenforced.content, *self._unenforced.functions.values())
        self.checked += texts
        return self._valid


def scripted_backend(engine: ScriptedEngine | None = None, renderer: ScriptedRenderer | None = None) -> LocalBackend:
    """Return a local backend over a scripted engine."""
    return LocalBackend(engine or ScriptedEngine(), ByteVocabulary(), renderer or ScriptedRenderer())
