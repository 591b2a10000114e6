"""Drafts tokens greedily with a small model of the same vocabulary.

Speculative decoding (Leviathan et al. 2023; Chen et al. 2023) with the draft distribution cut to its most likely token.
The model has its own KV cells. It computes a sequence again that has lost its cells.
"""

from collections.abc import Container, Hashable, Mapping
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from antiphon.engine.cache.radix_tree import common_length
from antiphon.engine.interface import EngineOptions
from antiphon.engine.models.llama import SEQ_IDS, LlamaModel, open_sibling


class DraftingModel(Protocol):
    """A model that decodes drafts: llama.cpp's, or the fake model of the tests."""

    n_vocab: int
    eog_ids: frozenset[int]

    def decode(
        self, tokens: list[int], positions: list[int], seq_ids: list[int], outputs: list[int]
    ) -> npt.NDArray[np.float32]:
        """Decode one batch; return the logits of the rows ``outputs``."""

    def seq_rm(self, seq_id: int, start: int, end: int) -> None:
        """Remove ``seq_id`` from its cells at positions [start, end)."""

    def close(self) -> None:
        """Release the model."""


class DraftModel:
    """Drafts tokens for several sequences at once. Any hashable key identifies a sequence; :meth:`forget` ends it."""

    def __init__(self, model: DraftingModel, *, n_cells: int, n_seq_ids: int, max_batch: int) -> None:
        """Limit the tokens of all sequences to ``n_cells`` and those of one call of ``decode`` to ``max_batch``."""
        self._model: Final = model
        self._n_cells: Final = n_cells
        self._max_batch: Final = max_batch
        self._free_ids = list(range(n_seq_ids))
        self._ids: dict[Hashable, int] = {}
        self._held: dict[Hashable, list[int]] = {}
        """The tokens with filled cells, by sequence, the least recently used sequence first."""

    def draft(self, wanted: dict[Hashable, tuple[list[int], int]]) -> dict[Hashable, list[int]]:
        """Return the drafts of the sequences in ``wanted``, which gives the tokens and the draft length of each.

        A draft ends early before an end-of-generation token. A sequence without free cells gets no draft.
        """
        places: dict[Hashable, tuple[list[int], int]] = {}
        for key, (tokens, n) in wanted.items():
            if n > 0 and self._make_room(key, len(tokens) + n, wanted, places):
                places[key] = (tokens, n)
        drafts: dict[Hashable, list[int]] = {key: [] for key in places}
        pending = {key: self._missing(key, tokens) for key, (tokens, _) in places.items()}
        while pending:
            for key, token_id in self._decode(pending).items():
                ends = token_id in self._model.eog_ids
                drafts[key] += [] if ends else [token_id]
                if ends or len(drafts[key]) == places[key][1]:
                    del pending[key]
                else:
                    pending[key] = [token_id]
        return drafts

    def forget(self, key: Hashable) -> None:
        """Free the cells and the id of a sequence."""
        if key in self._ids:
            self._model.seq_rm(self._ids[key], 0, len(self._held.pop(key)))
            self._free_ids.append(self._ids.pop(key))

    def close(self) -> None:
        """Release the model."""
        self._model.close()

    def _make_room(
        self, key: Hashable, size: int, wanted: Container[Hashable], places: Mapping[Hashable, tuple[list[int], int]]
    ) -> bool:
        """Reserve cells and an id for a sequence; return False without room.

        It takes them from sequences that do not draft now where the free ones do not suffice.
        """
        others = {other: len(held) for other, held in self._held.items() if other != key}
        others |= {other: len(tokens) + n for other, (tokens, n) in places.items()}
        used = sum(others.values())
        for other in [each for each in self._held if each not in wanted]:
            if (self._free_ids or key in self._ids) and used + size <= self._n_cells:
                break
            used -= others[other]
            self.forget(other)
        if used + size > self._n_cells or not (self._free_ids or key in self._ids):
            return False
        if key not in self._ids:
            self._ids[key] = self._free_ids.pop()
        self._held[key] = self._held.pop(key, [])
        return True

    def _missing(self, key: Hashable, tokens: list[int]) -> list[int]:
        """Drop the cells after the common prefix of ``tokens``; return the tokens to decode, at least the last one."""
        held = self._held[key]
        common = common_length(held, tokens, 0, len(tokens) - 1)
        if common < len(held):
            self._model.seq_rm(self._ids[key], common, len(held))
            del held[common:]
        return tokens[common:]

    def _decode(self, pending: dict[Hashable, list[int]]) -> dict[Hashable, int]:
        """Decode the pending tokens in batches; return the likeliest next token of each sequence."""
        tokens: list[int] = []
        positions: list[int] = []
        seq_ids: list[int] = []
        ends: dict[int, Hashable] = {}
        for key, missing in pending.items():
            held = self._held[key]
            tokens += missing
            positions += range(len(held), len(held) + len(missing))
            seq_ids += [self._ids[key]] * len(missing)
            held += missing
            ends[len(tokens) - 1] = key
        likeliest: dict[Hashable, int] = {}
        for at in range(0, len(tokens), self._max_batch):
            part = slice(at, at + self._max_batch)
            outputs = [row - at for row in ends if at <= row < at + self._max_batch]
            logits = self._model.decode(tokens[part], positions[part], seq_ids[part], outputs)
            likeliest.update((ends[at + row], int(each.argmax())) for row, each in zip(outputs, logits, strict=True))
        return likeliest


def open_draft_model(options: EngineOptions, model: LlamaModel) -> DraftModel:
    """Load the draft model of ``model``. Raises :class:`antiphon.engine.models.bindings.EngineLoadError`."""
    sibling = open_sibling(options, model)
    info = sibling.info
    return DraftModel(sibling, n_cells=info.ctx_size, n_seq_ids=SEQ_IDS, max_batch=info.max_num_batched_tokens)
