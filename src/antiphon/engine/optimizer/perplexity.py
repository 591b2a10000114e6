"""How well a model predicts a text: the negative log-likelihood of each token after up to half a window before it.

The text is our own, ``perplexity.txt`` beside this module: prose on several subjects, a dialogue, a letter, code and
JSON. Perplexity is exp of the mean loss; on so short a text the figure of one file says little, but two files of the
same weights are compared token by token.
"""

from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import Final

import numpy as np
import numpy.typing as npt

from antiphon.engine.models.llama import LlamaModel

WINDOW: Final = 512
"""Tokens that the model sees at once."""
BATCH: Final = 128
"""Tokens of one call of ``llama_decode``: their logits take 4 bytes for each token of the vocabulary."""

Advance = Callable[[], None]


def own_text() -> str:
    """Read the text that is packaged with this module."""
    return files("antiphon.engine.optimizer").joinpath("perplexity.txt").read_text(encoding="utf-8")


def predictions(
    model: LlamaModel,
    ids: list[int],
    *,
    window: int = WINDOW,
    bos_id: int | None = None,
    advance: Advance = lambda: None,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Score every token of ``ids`` but the first: the losses in nats and the likeliest ids, each of length n - 1.

    The window slides by half its length, and each token is scored in the first window whose second half holds it (the
    first window's first half, too), so with at least ``window / 2`` tokens before it. ``bos_id`` takes the first place
    of every window, as llama.cpp's own measurement has it. ``advance`` is called after each of :func:`n_windows`.
    """
    losses, likeliest = [np.empty(0)], [np.empty(0, dtype=np.int64)]
    for start in _starts(len(ids), window):
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


def n_windows(n_tokens: int, window: int = WINDOW) -> int:
    """Count the windows over a text."""
    return len(_starts(n_tokens, window))


def _starts(n_tokens: int, window: int) -> range:
    """Where the windows begin: the last one reaches the end of the text."""
    half = window // 2
    return range(0, max(1, n_tokens - half), half)


def _decode(
    model: LlamaModel, ids: list[int], wanted: range
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]]:
    """Run a window as sequence 0 from an empty memory; gives the wanted rows and their logits, batch by batch."""
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
