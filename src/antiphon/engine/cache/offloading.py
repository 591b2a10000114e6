"""The policy of offloading: which unused prefixes move to host memory, and when.

Every decode reads all filled cells, so unused prefixes slow down every stream (docs/performance.md). They move to host
memory, and are restored in a fraction of the time that computing them takes.
"""

from typing import Final

from antiphon.engine.cache.cell_pool import CellPool
from antiphon.engine.cache.radix_tree import Node

MAX_UNUSED_CELLS: Final = 256
"""Cells of unused prefixes that stay filled, unless free cells lie before them. A restored prefix lies in other cells,
whose attention is summed in another order: answers to short conversations should not differ by that."""
OFFLOADED_PER_STEP: Final = 1024
"""Tokens that one step offloads at most, so that no stream stalls."""
COPIED_AT_ONCE: Final = 2048
"""Tokens that are copied at most before a sequence starts alone, or in one idle step, so that no request waits long."""
MIN_KEPT_COPY: Final = 256
"""Tokens of the shortest node with a copy that is continued in a child, so that the copy stays valid. A shorter node is
extended and its copy dropped, so that long conversations do not use up the sequence ids."""
MAX_NODES: Final = 32
"""Nodes that one conversation is divided into for this reason."""


class Offloading:
    """Offloads unused prefixes in each step and before a sequence starts alone, and copies them while nothing runs."""

    def __init__(self, pool: CellPool) -> None:
        self._pool: Final = pool
        self.max_unused_cells = MAX_UNUSED_CELLS
        self.offloaded_per_step = OFFLOADED_PER_STEP
        self.copied_at_once = COPIED_AT_ONCE
        self.min_kept_copy = max(MIN_KEPT_COPY, pool.n_cells // MAX_NODES)

    def offload_excess(self, max_tokens: int | None = None) -> None:
        """Offload the least recently used prefixes until few unused cells are left.

        Called once in a step; moves at most ``max_tokens`` tokens, by default ``OFFLOADED_PER_STEP``.
        """
        left = self.offloaded_per_step if max_tokens is None else max_tokens
        while left > 0 and self._pool.n_host_cells and self._has_excess():
            node = next(iter(self._pool.tree.unused_resident))
            excess = len(node.tokens) - left
            if excess > 0 and node.copy is None:
                node = self._pool.split(node, excess) or node
            left -= len(node.tokens)
            self._pool.offload(node)

    def copy_unused_prefix(self) -> bool:
        """Copy an unused prefix, or the end of a long one, to host memory; return False when none can be copied.

        Called while nothing runs. The cells stay filled, and cost nothing to empty later.
        """
        node = next((node for node in self._pool.tree.unused_resident if node.copy is None), None)
        if node is None:
            return False
        if min(len(node.tokens), self.copied_at_once) + self._pool.host_cells > self._pool.n_host_cells:
            return False
        excess = len(node.tokens) - self.copied_at_once
        if excess > 0:
            node = self._pool.split(node, excess) if self._pool.free_ids else None
        if node is None:
            return False
        self._pool.save(node)
        return True

    def clear_cells(self) -> None:
        """Offload the unused prefixes before a sequence starts alone, while at most ``COPIED_AT_ONCE`` are copied.

        The sequence then has the same cells after any others. Attention sums in the order of the cells, in half
        precision, so equal requests get equal answers.
        """
        left = self.copied_at_once
        while self._pool.tree.unused_resident:
            node = next(iter(self._pool.tree.unused_resident))
            new = 0 if node.copy is not None else len(node.tokens)
            if new > left or new + self._pool.host_cells > self._pool.n_host_cells:
                return
            left -= new
            self._pool.offload(node)

    def keeps_copy(self, node: Node) -> bool:
        """Return whether a node's copy is worth a child for the tokens that follow."""
        return node.copy is not None and len(node.tokens) >= self.min_kept_copy

    def _has_excess(self) -> bool:
        """Return whether unused prefixes hold many cells, or cells after many free ones."""
        if self._pool.evictable_cells > self.max_unused_cells:
            return True
        last_cell = self._pool.used_cells + self.max_unused_cells
        return any(node.last_cell > last_cell for node in self._pool.tree.unused_resident)
