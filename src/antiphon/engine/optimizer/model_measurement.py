"""Measures a model file: its losses over a packaged text, and the speed of ``llama_decode`` on this machine."""

import statistics
import time
from collections.abc import Callable
from typing import Final

from antiphon.engine.interface import EngineOptions
from antiphon.engine.models.llama import LlamaModel
from antiphon.engine.models.tokenizer import Tokenizer
from antiphon.engine.optimizer.optimizer_jobs import BATCHES, Measured
from antiphon.engine.optimizer.perplexity import WINDOW, count_windows, packaged_text, predictions
from antiphon.engine.optimizer.quantization import file_type

PROMPT: Final = 32
"""Tokens that each sequence holds before its decoding is timed."""
STEPS: Final = 16
"""Timed decoding steps for each number of sequences."""
ROUNDS: Final = 3
"""Measurements of each speed; the median counts."""
_CELLS: Final = 2048

Clock = Callable[[], float]
"""Returns seconds since any fixed time."""
Report = Callable[[int, int], None]
"""Takes the number of finished pieces of work and the number of all."""


def measure(
    path: str, report: Report, clock: Clock = time.perf_counter, *, text: str = "", threads: int = 0
) -> Measured:
    """Return the measurement of a model over ``text``, by default the packaged text.

    ``threads`` is the number of threads; 0 stands for one per physical core.

    Raises :class:`antiphon.engine.models.bindings.EngineLoadError`.
    """
    tokenizer = Tokenizer.open(path)
    ids = tokenizer.encode(text or packaged_text(), add_special=True)
    bos_id = tokenizer.bos_id if tokenizer.add_bos else None
    tokenizer.close()
    options = EngineOptions(model_path=path, ctx_size=_CELLS, max_num_batched_tokens=WINDOW, threads=threads)
    model = LlamaModel.open(options)
    window = min(WINDOW, model.info.max_model_len)
    work = _ProgressCounter(count_windows(len(ids), window) + ROUNDS * (1 + len(BATCHES)), report)
    try:
        losses, likeliest = predictions(model, ids, window=window, bos_id=bos_id, advance=work.advance)
        prefill, decode = _measure_speeds(model, ids, window, clock, work)
    finally:
        model.close()
    return Measured(
        file_type=file_type(path),
        losses=losses.tolist(),
        likeliest=likeliest.tolist(),
        prefill=prefill,
        decode=decode,
    )


class _ProgressCounter:
    """Counts and reports the finished pieces of work."""

    def __init__(self, total: int, report: Report) -> None:
        self._done = 0
        self._total = total
        self._report = report

    def advance(self) -> None:
        """Count and report one more piece."""
        self._done += 1
        self._report(self._done, self._total)


def _measure_speeds(
    model: LlamaModel, ids: list[int], window: int, clock: Clock, work: _ProgressCounter
) -> tuple[float, dict[int, float]]:
    """Return the speeds of prefill and of each batch size, measured in turns so that a slow moment affects them all."""
    prefills: list[float] = []
    decodes: dict[int, list[float]] = {batch: [] for batch in BATCHES}
    for _ in range(ROUNDS):
        prefills.append(_prefill_speed(model, ids[:window], clock))
        work.advance()
        for batch, rates in decodes.items():
            rates.append(_decode_speed(model, ids, batch, clock))
            work.advance()
    return statistics.median(prefills), {batch: statistics.median(rates) for batch, rates in decodes.items()}


def _prefill_speed(model: LlamaModel, ids: list[int], clock: Clock) -> float:
    model.seq_rm(0, 0, -1)
    start = clock()
    model.decode(ids, list(range(len(ids))), [0] * len(ids), [len(ids) - 1])
    rate = len(ids) / (clock() - start)
    model.seq_rm(0, 0, -1)
    return rate


def _decode_speed(model: LlamaModel, ids: list[int], batch: int, clock: Clock) -> float:
    """Return the tokens a second of ``batch`` sequences, each after its own prompt; argmax chooses the tokens."""
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
