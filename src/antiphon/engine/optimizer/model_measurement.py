"""Measures a model file: how well it predicts our own text, and how fast ``llama_decode`` is here."""

import statistics
import time
from collections.abc import Callable
from typing import Final

from antiphon.engine.interface import EngineOptions
from antiphon.engine.models.llama import LlamaModel
from antiphon.engine.models.tokenizer import Tokenizer
from antiphon.engine.optimizer.optimizer_jobs import BATCHES, Measured
from antiphon.engine.optimizer.perplexity import WINDOW, n_windows, own_text, predictions
from antiphon.engine.optimizer.quantization import file_type

PROMPT: Final = 32
"""Tokens that each sequence holds before its decoding is timed."""
STEPS: Final = 16
"""Decoding steps that are timed, for each number of sequences."""
ROUNDS: Final = 3
"""Times that each speed is measured; the median counts."""
_CELLS: Final = 2048

Clock = Callable[[], float]
"""Seconds from any beginning."""
Report = Callable[[int, int], None]
"""Told that this many pieces of work of so many are done."""


def measure(
    path: str, report: Report, clock: Clock = time.perf_counter, *, text: str = "", threads: int = 0
) -> Measured:
    """Load a model and measure it over ``text``, by default our own; 0 threads are one for each physical core.

    Raises :class:`antiphon.engine.models.bindings.EngineLoadError`.
    """
    tokenizer = Tokenizer.open(path)
    ids = tokenizer.encode(text or own_text(), add_special=True)
    bos_id = tokenizer.bos_id if tokenizer.add_bos else None
    tokenizer.close()
    options = EngineOptions(model_path=path, ctx_size=_CELLS, max_num_batched_tokens=WINDOW, threads=threads)
    model = LlamaModel.open(options)
    window = min(WINDOW, model.info.max_model_len)
    work = _Work(n_windows(len(ids), window) + ROUNDS * (1 + len(BATCHES)), report)
    try:
        losses, likeliest = predictions(model, ids, window=window, bos_id=bos_id, advance=work.advance)
        prefill, decode = _speeds(model, ids, window, clock, work)
    finally:
        model.close()
    return Measured(
        file_type=file_type(path),
        losses=losses.tolist(),
        likeliest=likeliest.tolist(),
        prefill=prefill,
        decode=decode,
    )


class _Work:
    """Counts the pieces of work that are done."""

    def __init__(self, total: int, report: Report) -> None:
        self._done = 0
        self._total = total
        self._report = report

    def advance(self) -> None:
        """Count one more, and tell it."""
        self._done += 1
        self._report(self._done, self._total)


def _speeds(
    model: LlamaModel, ids: list[int], window: int, clock: Clock, work: _Work
) -> tuple[float, dict[int, float]]:
    """Take turns at prefill and each batch, so that a slow moment of the machine does not fall on one figure alone."""
    prefills: list[float] = []
    decodes: dict[int, list[float]] = {batch: [] for batch in BATCHES}
    for _ in range(ROUNDS):
        prefills.append(_prefill(model, ids[:window], clock))
        work.advance()
        for batch, rates in decodes.items():
            rates.append(_decode(model, ids, batch, clock))
            work.advance()
    return statistics.median(prefills), {batch: statistics.median(rates) for batch, rates in decodes.items()}


def _prefill(model: LlamaModel, ids: list[int], clock: Clock) -> float:
    model.seq_rm(0, 0, -1)
    start = clock()
    model.decode(ids, list(range(len(ids))), [0] * len(ids), [len(ids) - 1])
    rate = len(ids) / (clock() - start)
    model.seq_rm(0, 0, -1)
    return rate


def _decode(model: LlamaModel, ids: list[int], batch: int, clock: Clock) -> float:
    """Time steps of ``batch`` sequences, each after a prompt of its own; nothing but an argmax chooses tokens."""
    rows = list(range(batch))
    for seq in rows:
        prompt = ids[seq : seq + PROMPT]
        model.decode(prompt, list(range(PROMPT)), [seq] * PROMPT, [])
    tokens = ids[:batch]
    start = clock()
    for step in range(STEPS):
        logits = model.decode(tokens, [PROMPT + step] * batch, rows, rows)
        tokens = logits.argmax(axis=1).tolist()
    rate = batch * STEPS / (clock() - start)
    for seq in rows:
        model.seq_rm(seq, 0, -1)
    return rate
