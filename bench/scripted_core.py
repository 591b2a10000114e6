"""``antiphon serve`` with an engine core without a model, for measuring the cost of our own code.

HTTP, validation, the template, the tokenizer, the engine's process and its messages are real. ``python -m
bench.scripted_core`` takes the arguments of ``antiphon``.
"""

from collections.abc import Callable
from functools import partial
from typing import Self
from unittest.mock import patch

from antiphon.cli import main
from antiphon.engine.host.client import EngineClient
from antiphon.engine.interface import (
    EngineOptions,
    EngineStats,
    Finished,
    FinishReason,
    GenerateRequest,
    ModelInfo,
    Started,
    StreamEvent,
    TokenEvent,
)
from antiphon.engine.models.bindings import silence_logs
from antiphon.engine.models.tokenizer import Tokenizer

TEXT = " river stone light paper garden engine winter letter"
"""The text that every answer repeats."""


class ScriptedCore:
    """Gives every choice one token in each step, up to the request's maximum."""

    def __init__(self, info: ModelInfo, token_ids: list[int]) -> None:
        self.info = info
        self._token_ids = token_ids
        self._running: dict[str, tuple[GenerateRequest, dict[int, int]]] = {}
        """Each request with the number of tokens of each choice."""
        self._ended: list[StreamEvent] = []
        self._steps = 0

    @classmethod
    def open(cls, options: EngineOptions, *, clock: Callable[[], float], entropy: Callable[[], int]) -> Self:
        """Read the model's vocabulary and return the core."""
        del clock, entropy
        silence_logs()
        tokenizer = Tokenizer.open(options.model_path)
        token_ids = tokenizer.encode(TEXT)
        tokenizer.close()
        return cls(_info(options, tokenizer.n_vocab), token_ids)

    @property
    def has_work(self) -> bool:
        """Whether a request runs."""
        return bool(self._running or self._ended)

    def add(self, request: GenerateRequest) -> None:
        """Add a request."""
        self._running[request.request_id] = (request, dict.fromkeys(range(request.n), 0))
        self._ended.append(Started(request_id=request.request_id, cached_tokens=0))

    def abort(self, request_id: str, index: int | None) -> None:
        """End one choice or all of a request."""
        if request_id in self._running:
            _, choices = self._running[request_id]
            for each in [i for i in choices if index in (None, i)]:
                self._finish(request_id, each, "abort")

    def step(self) -> list[StreamEvent]:
        """Give every choice its next token."""
        self._steps += 1
        events, self._ended = self._ended, []
        for request_id, (request, choices) in list(self._running.items()):
            for index in list(choices):
                token = self._token_ids[choices[index] % len(self._token_ids)]
                choices[index] += 1
                events.append(TokenEvent(request_id=request_id, index=index, token_ids=[token]))
                if choices[index] >= request.sampling.max_tokens:
                    self._finish(request_id, index, "length")
        events += self._ended
        self._ended = []
        return events

    def _finish(self, request_id: str, index: int, reason: FinishReason, message: str = "") -> None:
        request, choices = self._running[request_id]
        self._ended.append(
            Finished(
                request_id=request_id,
                index=index,
                reason=reason,
                prompt_tokens=len(request.prompt_ids),
                completion_tokens=choices.pop(index),
                message=message,
            )
        )
        if not choices:
            del self._running[request_id]

    def abort_all(self, reason: FinishReason, message: str) -> list[StreamEvent]:
        """End all requests."""
        for request_id, (_, choices) in list(self._running.items()):
            for index in list(choices):
                self._finish(request_id, index, reason, message)
        events, self._ended = self._ended, []
        return events

    def idle_step(self) -> bool:
        """Return False: there is no idle work."""
        return False

    def stats(self) -> EngineStats:
        """Return the counters."""
        return EngineStats(
            running=len(self._running),
            waiting=0,
            kv_cells_used=0,
            kv_cells_cached=0,
            kv_cells_total=self.info.ctx_size,
            steps=self._steps,
            prompt_tokens=0,
            cached_tokens=0,
            generated_tokens=0,
            preemptions=0,
        )

    def close(self) -> None:
        """Release nothing."""


def _info(options: EngineOptions, n_vocab: int) -> ModelInfo:
    return ModelInfo(
        description="scripted",
        n_params=1,
        model_size=1,
        n_vocab=n_vocab,
        n_embd=1,
        n_ctx_train=8192,
        max_model_len=8192,
        ctx_size=8192,
        max_num_seqs=options.max_num_seqs,
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


if __name__ == "__main__":
    scripted = partial(EngineClient, core_factory="bench.scripted_core:ScriptedCore.open")
    with patch("antiphon.cli.wiring.EngineClient", scripted):
        main()
