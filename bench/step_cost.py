"""What a step costs outside ``llama_decode``: our own Python as a share of the step, and the bare loop as the limit."""

import random
import statistics
import time
from typing import Any

from msgspec import Struct

from antiphon.engine.core import Core
from antiphon.engine.interface import EngineOptions, GenerateRequest, SamplingParams
from antiphon.engine.llama import LlamaModel
from antiphon.engine.tokenizer import Tokenizer


class TimedModel:
    """A model whose ``decode`` adds up the seconds that it takes; everything else passes through."""

    def __init__(self, model: LlamaModel) -> None:
        self._model = model
        self.seconds = 0.0

    def decode(self, *args: Any) -> Any:  # noqa: ANN401
        """Run one batch."""
        start = time.perf_counter()
        logits = self._model.decode(*args)
        self.seconds += time.perf_counter() - start
        return logits

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._model, name)


class StepCost(Struct, frozen=True):
    """Medians over the rounds."""

    batch: int
    temperature: float
    python_share: float
    """Of the step's time, what is not ``llama_decode``."""
    step_ms: float


def prompts(tokenizer: Tokenizer, n: int, words: int) -> list[list[int]]:
    """``n`` different prompts of about ``words`` tokens."""
    draw = random.Random(7)  # noqa: S311 (words of prompts)
    texts = (" ".join(draw.choice(WORDS) for _ in range(words)) for _ in range(n))
    return [
        tokenizer.encode(f"<|im_start|>user\n{t}<|im_end|>\n<|im_start|>assistant\n", parse_special=True) for t in texts
    ]


WORDS = ("river", "stone", "light", "paper", "garden", "engine", "winter", "letter", "market", "silver", "bridge")


def measure(model_path: str, batch: int, temperature: float, rounds: int = 3, tokens: int = 64) -> StepCost:
    """Decode ``batch`` sequences for ``tokens`` steps, ``rounds`` times."""
    tokenizer = Tokenizer.open(model_path)
    options = EngineOptions(model_path=model_path)
    model = TimedModel(LlamaModel.open(options))
    core = Core(model, options, clock=time.monotonic, entropy=lambda: 1)  # type: ignore[arg-type]
    bans = dict.fromkeys(tokenizer.eog_ids, -100.0)
    shares, steps = [], []
    for r in range(rounds):
        sampling = SamplingParams(max_tokens=tokens, temperature=temperature, logit_bias=bans if temperature else {})
        for i, ids in enumerate(prompts(tokenizer, batch, 20)):
            core.add(GenerateRequest(request_id=f"{r}-{i}", prompt_ids=ids, sampling=sampling))
        while core.stats().waiting:
            core.step()
        core.step()
        share, milliseconds = _decode_phase(core, model)
        shares.append(share)
        steps.append(milliseconds)
    core.close()
    return StepCost(batch, temperature, statistics.median(shares), statistics.median(steps))


def _decode_phase(core: Core, model: TimedModel) -> tuple[float, float]:
    model.seconds, steps, start = 0.0, 0, time.perf_counter()
    while core.has_work:
        core.step()
        steps += 1
    total = time.perf_counter() - start
    return (total - model.seconds) / total, total / steps * 1000


def bare_loop(model_path: str, batch: int, steps: int = 96, prompt: int = 40) -> float:
    """Tokens a second of ``llama_decode`` alone: no sampling beyond an argmax, no HTTP, no scheduling."""
    model = LlamaModel.open(EngineOptions(model_path=model_path))
    tokens, positions, seqs = [], [], []
    for seq in range(batch):
        tokens += [100 + seq] * prompt
        positions += range(prompt)
        seqs += [seq] * prompt
    width = 512
    for at in range(0, len(tokens), width):
        model.decode(tokens[at : at + width], positions[at : at + width], seqs[at : at + width], [])
    ids = [1000] * batch
    rows = list(range(batch))
    start = time.perf_counter()
    for step in range(steps):
        logits = model.decode(ids, [prompt + step] * batch, rows, rows)
        ids = [int(row.argmax()) for row in logits]
    rate = batch * steps / (time.perf_counter() - start)
    model.close()
    return rate
