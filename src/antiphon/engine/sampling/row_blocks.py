"""Rows of logits that are cut into blocks.

Sorting or summing up all of a vocabulary takes several times as long as reading it. A search over the maxima or sums of
the blocks finds the few blocks that matter.
"""

from typing import Final

import numpy as np

from antiphon.engine.sampling.sampling_state import Floats, Ints

BLOCK: Final = 256
"""Tokens of a block."""


def make_row(n_vocab: int) -> Floats:
    """Return a row of whole blocks with at least ``n_vocab`` logits, all of them -inf."""
    return np.full(-(-n_vocab // BLOCK) * BLOCK, -np.inf, dtype=np.float32)


def keep_only(row: Floats, ids: Ints) -> None:
    """Set all logits to -inf but those of ``ids``."""
    kept = row[ids]
    row.fill(-np.inf)
    row[ids] = kept


def block_sums(row: Floats) -> Floats:
    """Return the sum of each block."""
    sums: Floats = np.einsum("jk->j", row.reshape(-1, BLOCK))
    return sums


def most_likely(row: Floats, n: int) -> Ints:
    """Return the ids of the ``n`` largest finite logits, largest first, equal ones in the order of their ids.

    They lie in the ``n`` blocks with the largest maxima.
    """
    blocks = row.reshape(-1, BLOCK)
    maxima = blocks.max(axis=1)
    chosen = np.argpartition(-maxima, n)[:n] if n < len(maxima) else np.arange(len(maxima))
    ids = (chosen[:, None] * BLOCK + np.arange(BLOCK)).ravel()
    values = row[ids]
    if n < ids.size:
        best = np.argpartition(-values, n)[:n]
        ids, values = ids[best], values[best]
    order = np.lexsort((ids, -values))
    kept: Ints = ids[order][np.isfinite(values[order])]
    return kept
