"""A core without a model: what each request does is written in it, so that the process boundary can be tested alone.

A choice of a request gains one token per step, ``prompt_ids`` over and over, up to ``max_tokens``. The first prompt id
may be one of the marks below instead. How loading goes and how long a step takes stands in ``options.model_path``, see
:class:`Script`.
"""

import asyncio
import os
import sys
import time
from collections.abc import Callable
from typing import Literal

import msgspec

from antiphon.engine.interface import (
    EngineOptions,
    EngineStats,
    Finished,
    FinishReason,
    GenerateRequest,
    ModelInfo,
    SamplingParams,
    Started,
    StreamEvent,
    TokenEvent,
    TokenSegment,
)

REFUSE = 9001
"""``add`` raises."""
RAISE_IN_STEP = 9002
"""The first step raises."""
ABORT_PROCESS = 9003
"""The first step aborts the process, as a failed assertion of the decoding library does."""
SLEEP = 9004
"""The first step takes a minute."""


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """The behaviour of the core for all requests."""

    load: Literal["ok", "raise", "abort", "sleep"] = "ok"
    step_seconds: float = 0.0

    def options(self, *, max_num_seqs: int = 32, max_waiting: int = 256) -> EngineOptions:
        """Return the options of an engine with this behaviour."""
        path = msgspec.json.encode(self).decode()
        return EngineOptions(model_path=path, max_num_seqs=max_num_seqs, max_waiting=max_waiting)


class Choice(msgspec.Struct, eq=False):
    """One running choice."""

    request: GenerateRequest
    index: int
    generated: int = 0


class ScriptedCore:
    """A core whose requests contain their answers and faults."""

    def __init__(self, options: EngineOptions) -> None:
        self.info = model_info(options)
        self.closed = False
        self._script = msgspec.json.decode(options.model_path, type=Script)
        self._max_num_seqs = options.max_num_seqs
        self._waiting: list[GenerateRequest] = []
        self._running: list[Choice] = []
        self._events: list[StreamEvent] = []
        self._steps = self._generated = 0
        self.pieces = 0
        """The number of idle steps with work."""

    @property
    def has_work(self) -> bool:
        return bool(self._waiting or self._running or self._events)

    def add(self, request: GenerateRequest) -> None:
        if request.prompt_ids[0] == REFUSE:
            raise ValueError("this request is refused")
        self._waiting.append(request)

    def abort(self, request_id: str, index: int | None = None) -> None:
        for choice in [*self._running, *self._choices_waiting()]:
            if choice.request.request_id == request_id and index in (None, choice.index):
                self._finish(choice, "abort")
        self._waiting = [request for request in self._waiting if request.request_id != request_id]

    def abort_all(self, reason: FinishReason, message: str) -> list[StreamEvent]:
        for choice in [*self._running, *self._choices_waiting()]:
            self._finish(choice, reason, message)
        self._waiting = []
        return self._take_events()

    def step(self) -> list[StreamEvent]:
        self._start()
        for choice in list(self._running):
            self._advance(choice)
        self._steps += 1
        time.sleep(self._script.step_seconds)
        return self._take_events()

    def idle_step(self) -> bool:
        self.pieces -= 1
        return self.pieces >= 0

    def stats(self) -> EngineStats:
        return EngineStats(
            running=len(self._running),
            waiting=len(self._waiting),
            kv_cells_used=0,
            kv_cells_cached=0,
            kv_cells_total=0,
            steps=self._steps,
            prompt_tokens=0,
            cached_tokens=0,
            generated_tokens=self._generated,
            preemptions=0,
        )

    def close(self) -> None:
        self.closed = True

    def _choices_waiting(self) -> list[Choice]:
        return [Choice(request, index) for request in self._waiting for index in range(request.n)]

    def _start(self) -> None:
        while self._waiting and len(self._running) < self._max_num_seqs:
            request = self._waiting.pop(0)
            self._events.append(Started(request_id=request.request_id, cached_tokens=0))
            self._running += [Choice(request, index) for index in range(request.n)]

    def _advance(self, choice: Choice) -> None:
        request = choice.request
        if choice.generated == 0:
            _misbehave(request.prompt_ids[0])
        token_id = request.prompt_ids[choice.generated % len(request.prompt_ids)]
        choice.generated += 1
        self._generated += 1
        self._events.append(TokenEvent(request_id=request.request_id, index=choice.index, token_ids=[token_id]))
        if choice.generated == request.sampling.max_tokens:
            self._finish(choice, "length")

    def _finish(self, choice: Choice, reason: FinishReason, message: str = "") -> None:
        self._running = [other for other in self._running if other is not choice]
        self._events.append(
            Finished(
                request_id=choice.request.request_id,
                index=choice.index,
                reason=reason,
                prompt_tokens=len(choice.request.prompt_ids),
                completion_tokens=choice.generated,
                message=message,
            )
        )

    def _take_events(self) -> list[StreamEvent]:
        events, self._events = self._events, []
        return events


def _misbehave(mark: int) -> None:
    if mark == RAISE_IN_STEP:
        raise RuntimeError("the step failed")
    if mark == ABORT_PROCESS:
        print("GGML_ASSERT(scripted) failed", file=sys.stderr)  # noqa: T201
        os.abort()
    if mark == SLEEP:
        time.sleep(60)


def open_core(options: EngineOptions, *, clock: Callable[[], float], entropy: Callable[[], int]) -> ScriptedCore:
    """Return a scripted core; the worker finds this function by its dotted path."""
    assert clock() <= clock()
    assert 0 <= entropy() < 2**64
    load = msgspec.json.decode(options.model_path, type=Script).load
    if load == "raise":
        raise ValueError("no such model")
    if load == "abort":
        print("out of memory, says the library", file=sys.stderr)  # noqa: T201
        os.abort()
    if load == "sleep":
        time.sleep(60)
    return ScriptedCore(options)


def model_info(options: EngineOptions) -> ModelInfo:
    """Return the model information of a core with these options."""
    return ModelInfo(
        description="scripted",
        n_params=1,
        model_size=1,
        n_vocab=10_000,
        n_embd=8,
        n_ctx_train=1024,
        max_model_len=1024,
        ctx_size=1024,
        max_num_seqs=options.max_num_seqs,
        max_num_batched_tokens=options.max_num_batched_tokens,
        prefill_chunk_size=options.prefill_chunk_size,
        threads=1,
        threads_batch=1,
        n_gpu_layers=0,
        flash_attn=False,
        engine_version="scripted 1",
        system_info="",
        fingerprint="0123456789abcdef",
    )


def request(request_id: str, *prompt_ids: int, max_tokens: int = 3, n: int = 1) -> GenerateRequest:
    """Return a request for ``n`` choices of ``max_tokens`` tokens each."""
    return GenerateRequest(
        request_id=request_id,
        prompt=(TokenSegment(list(prompt_ids) or [1, 2]),),
        sampling=SamplingParams(max_tokens=max_tokens),
        n=n,
    )


async def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait until a condition holds that other processes or threads bring about."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - nothing signals it
            await asyncio.sleep(0.005)
