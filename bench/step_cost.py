"""The cost of a step outside ``llama_decode``: our own Python, with sampling, as a share of the step."""

import asyncio
import random
import statistics
import time
from typing import Any, Final

from msgspec import Struct

from antiphon.engine.interface import EngineOptions, GenerateRequest, SamplingParams, TokenSegment
from antiphon.engine.models.llama import LlamaModel
from antiphon.engine.models.tokenizer import Tokenizer
from antiphon.engine.worker.core import Core
from antiphon.load_testing.figures import Aim
from antiphon.load_testing.workloads import WORDS
from bench.rows import Found, Line, Round, Row

BATCH: Final = 16
TOP_P: Final = 0.9
TOKENS: Final = 32
QUICK_TOKENS: Final = 4
SHARE: Final = 0.03
PROMPT: Final = 20
"""Words."""


class TimedModel:
    """A model that sums up the seconds of its ``decode`` calls."""

    def __init__(self, model: LlamaModel) -> None:
        self._model = model
        self.seconds = 0.0

    def decode(self, *args: Any, **how: Any) -> Any:  # noqa: ANN401
        """Decode one batch and add its seconds."""
        start = time.perf_counter()
        logits = self._model.decode(*args, **how)
        self.seconds += time.perf_counter() - start
        return logits

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._model, name)


class StepCost(Struct, frozen=True):
    """The cost of the steps of one batch."""

    python_share: float
    """Share of the step's time outside ``llama_decode``."""
    step_ms: float


def row(batch: int = BATCH) -> Row:
    """Return the row: at temperature 0 no token is filtered, at temperature 1 the whole vocabulary is."""
    work = f"Python's share of a step, batch {batch}"
    lines = (
        Line(f"{work}, temperature 0", "%", aim=Aim("<=", SHARE, "figure")),
        Line(f"{work}, temperature 1, top_p {TOP_P:g}, full vocabulary", "%", aim=Aim("<=", SHARE, "figure")),
        Line(f"a step, batch {batch}, temperature 1", "ms"),
    )

    async def run(turn: Round) -> list[Found]:
        tokens = QUICK_TOKENS if turn.site.quick else TOKENS
        options = EngineOptions(model_path=turn.site.model, threads=turn.site.threads)
        greedy, drawn = await asyncio.to_thread(lambda: [measure(options, batch, t, tokens) for t in (0.0, 1.0)])
        return [(greedy.python_share, None), (drawn.python_share, None), (drawn.step_ms, None)]

    return Row("sampling", lines, run)


def prompts(tokenizer: Tokenizer, n: int) -> list[list[int]]:
    """Return ``n`` different prompts."""
    draw = random.Random(7)  # noqa: S311 (words of prompts)
    texts = (" ".join(draw.choice(WORDS) for _ in range(PROMPT)) for _ in range(n))
    return [
        tokenizer.encode(f"<|im_start|>user\n{t}<|im_end|>\n<|im_start|>assistant\n", parse_special=True) for t in texts
    ]


def measure(options: EngineOptions, batch: int, temperature: float, tokens: int, rounds: int = 2) -> StepCost:
    """Decode ``batch`` sequences for ``tokens`` steps, ``rounds`` times, and return the medians."""
    tokenizer = Tokenizer.open(options.model_path)
    model = TimedModel(LlamaModel.open(options))
    core = Core(model, options, clock=time.monotonic, entropy=lambda: 1)
    bans = dict.fromkeys(tokenizer.eog_ids, -100.0)
    shares, steps = [], []
    for r in range(rounds):
        sampling = SamplingParams(max_tokens=tokens, temperature=temperature, top_p=TOP_P, logit_bias=bans)
        for i, ids in enumerate(prompts(tokenizer, batch)):
            core.add(GenerateRequest(request_id=f"{r}-{i}", prompt=(TokenSegment(ids),), sampling=sampling))
        while core.stats().waiting:
            core.step()
        core.step()
        share, milliseconds = _decode_phase(core, model)
        shares.append(share)
        steps.append(milliseconds)
    core.close()
    tokenizer.close()
    return StepCost(statistics.median(shares), statistics.median(steps))


def _decode_phase(core: Core, model: TimedModel) -> tuple[float, float]:
    model.seconds, steps, start = 0.0, 0, time.perf_counter()
    while core.has_work:
        core.step()
        steps += 1
    total = time.perf_counter() - start
    return (total - model.seconds) / total, total / steps * 1000
