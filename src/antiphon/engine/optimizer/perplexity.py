"""Computes the losses of a model over a text: the negative log-likelihood of each token.

The packaged text, ``perplexity.txt``, has prose on several subjects, a dialogue, a letter, code and JSON. Perplexity is
exp of the mean loss. On so short a text the perplexity of one file means little; two files of the same weights are
compared token by token.
"""

from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import Final

import numpy as np
import numpy.typing as npt

from antiphon.engine.models.llama import LlamaModel

WINDOW: Final = 512
"""Tokens of a window."""
BATCH: Final = 128
"""Tokens of one call of ``llama_decode``. Each takes 4 bytes of logits per token of the vocabulary."""

Advance = Callable[[], None]


def packaged_text() -> str:
    """Return the text that is packaged with this module."""
    return files("antiphon.engine.optimizer").joinpath("perplexity.txt").read_text(encoding="utf-8")


def predictions(
    model: LlamaModel,
    ids: list[int],
    *,
    window: int = WINDOW,
    bos_id: int | None = None,
    advance: Advance = lambda: None,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return the loss in nats and the likeliest id for every token of ``ids`` but the first, each of length n - 1.

    The window slides by half its length. Each token is scored in the first window whose second half holds it, so after
    at least ``window / 2`` tokens; tokens of the first half of the first window are scored there. As in llama.cpp's
    perplexity tool, ``bos_id`` replaces the first token of every window. ``advance`` is called after each window.
    """
    losses, likeliest = [np.empty(0)], [np.empty(0, dtype=np.int64)]
    for start in _window_starts(len(ids), window):
        part = ids[start : start + window]
        seen = part if bos_id is None else [bos_id, *part[1:]]
        # The logits after token i score token i + 1; the last row scores nothing.
        first = window // 2 - 1 if start else 0
        for rows, logits in _decode(model, seen, range(first, len(part) - 1)):
            targets = np.asarray(part)[rows + 1]
            losses.append(_log_sum_exp(logits) - logits[np.arange(len(rows)), targets])
            likeliest.append(logits.argmax(axis=1))
        advance()
    return np.concatenate(losses), np.concatenate(likeliest)


def count_windows(n_tokens: int, window: int = WINDOW) -> int:
    """Return the number of windows over a text."""
    return len(_window_starts(n_tokens, window))


def _window_starts(n_tokens: int, window: int) -> range:
    """Return the starts of the windows. The last window reaches the end of the text."""
    half = window // 2
    return range(0, max(1, n_tokens - half), half)


def _decode(
    model: LlamaModel, ids: list[int], wanted: range
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]]:
    """Decode a window as sequence 0 from an empty memory; yield the wanted rows and their logits by batch."""
    model.seq_rm(0, 0, -1)
    for at in range(0, len(ids), BATCH):
        tokens = ids[at : at + BATCH]
        rows = [row for row in range(len(tokens)) if at + row in wanted]
        logits = model.decode(tokens, list(range(at, at + len(tokens))), [0] * len(tokens), rows)
        yield np.asarray(rows, dtype=np.int64) + at, logits.astype(np.float64)


def _log_sum_exp(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    highest: npt.NDArray[np.float64] = logits.max(axis=1)
    total: npt.NDArray[np.float64] = np.log(np.exp(logits - highest[:, None]).sum(axis=1))
    return np.add(highest, total)
