"""The physical limit: ``llama_decode`` in a loop with an argmax, without HTTP and scheduling."""

import statistics
import time
from typing import Final

from antiphon.engine.interface import EngineOptions
from antiphon.engine.models.llama import LlamaModel

PROMPT: Final = 45
"""Tokens of each sequence before it decodes, as many as the prompts of the servers' streams have."""
MAX_SEQUENCES: Final = 64
_FIRST: Final = 100
_NEXT: Final = 1000
"""Ids of ordinary tokens in most vocabularies."""


class BareLoop:
    """A model that is loaded at its first use."""

    def __init__(self, model_path: str, threads: int) -> None:
        self._options = EngineOptions(model_path=model_path, threads=threads)
        self._model: LlamaModel | None = None

    def _opened(self, sequences: int) -> LlamaModel:
        if self._model is None:
            self._model = LlamaModel.open(self._options)
        for seq in range(sequences):
            self._model.seq_rm(seq, 0, -1)
        return self._model

    def decode(self, batch: int, steps: int) -> float:
        """Return the tokens a second of all sequences together."""
        model = self._opened(MAX_SEQUENCES)
        for seq in range(batch):
            model.decode([_FIRST + seq] * PROMPT, list(range(PROMPT)), [seq] * PROMPT, [])
        ids, rows = [_NEXT] * batch, list(range(batch))
        start = time.perf_counter()
        for step in range(steps):
            logits = model.decode(ids, [PROMPT + step] * batch, rows, rows)
            ids = [int(row.argmax()) for row in logits]
        return batch * steps / (time.perf_counter() - start)

    def prefill(self, tokens: int, rounds: int = 3) -> float:
        """Return the tokens a second of one prompt in one batch, the median of the rounds."""
        times = []
        for _ in range(rounds):
            model = self._opened(MAX_SEQUENCES)
            start = time.perf_counter()
            model.decode([_NEXT] * tokens, list(range(tokens)), [0] * tokens, [tokens - 1])
            times.append(time.perf_counter() - start)
        return tokens / statistics.median(times)

    def close(self) -> None:
        """Release the model."""
        if self._model is not None:
            self._model.close()
            self._model = None
