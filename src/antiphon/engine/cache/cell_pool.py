"""The cells and sequence ids of the KV memory, the cached prefixes in them, and the copies in host memory.

Pure bookkeeping over a :class:`Memory`, which gets every change at once. Invariant, checked by :meth:`CellPool.check`:
free + cached + owned == cells.
"""

from typing import Final

from antiphon.engine.cache.host_memory import Memory
from antiphon.engine.cache.radix_tree import Node, RadixTree


class CellPool:
    """``n_cells`` cells, ``n_seq_ids`` sequence ids, and copies of up to ``n_host_cells`` cells in host memory."""

    def __init__(self, memory: Memory, n_cells: int, n_seq_ids: int, n_host_cells: int) -> None:
        self.memory: Final = memory
        self.tree: Final = RadixTree()
        self.n_cells: Final = n_cells
        self.n_seq_ids: Final = n_seq_ids
        self.n_host_cells: Final = n_host_cells
        self.free_ids = list(range(n_seq_ids - 1, -1, -1))
        self.cached_cells = 0
        """Cells of cached prefixes, used or not."""
        self.owned_cells = 0
        """Cells that leases own or have reserved."""
        self.host_cells = 0
        """Cells that have a copy in host memory, whether or not the cells are filled."""

    @property
    def used_cells(self) -> int:
        """Cells of cached prefixes and of leases."""
        return self.cached_cells + self.owned_cells

    @property
    def free_cells(self) -> int:
        """Cells that no prefix and no lease holds."""
        return self.n_cells - self.cached_cells - self.owned_cells

    @property
    def evictable_cells(self) -> int:
        """Cells of cached prefixes that no lease shares."""
        return self.tree.unused_cells

    def fits(self, n: int) -> bool:
        """Return whether ``n`` cells are free or can be made free."""
        return n <= self.free_cells + self.tree.unused_cells

    def make_room(self, n: int) -> bool:
        """Evict prefixes until ``n`` cells are free; return False, and evict none, when they do not fit."""
        if not self.fits(n):
            return False
        while self.free_cells < n:
            self.evict()
        return True

    def take_id(self) -> int | None:
        """Take a sequence id, evicting a prefix for it if need be; return None when leases hold every id."""
        if not self.free_ids and not self.evict():
            return None
        return self.free_ids.pop()

    def evict(self) -> bool:
        """Empty the cells of the least recently used prefix; return False when leases share every prefix."""
        node = next(iter(self.tree.unused_resident), None)
        if node is None:
            return False
        self.offload(node)
        return True

    def split(self, node: Node, length: int) -> Node | None:
        """Cut a resident node after ``length`` tokens; return the lower part, None without an id for it."""
        self.tree.lock(node)
        seq_id = self.take_id()
        self.tree.unlock(node)
        if seq_id is None:
            return None
        assert node.seq_id is not None
        self.drop_copy(node)
        lower = self.tree.split(node, length, seq_id)
        self.memory.seq_cp(node.seq_id, seq_id, lower.start, lower.end)
        self.memory.seq_rm(node.seq_id, lower.start, lower.end)
        return lower

    def save(self, node: Node) -> None:
        """Copy a resident node's cells to host memory; the cells stay filled."""
        assert node.seq_id is not None
        node.copy = self.memory.save(node.seq_id)
        self.host_cells += len(node.tokens)

    def offload(self, node: Node) -> None:
        """Empty the cells of an unused node, which lives on as a copy if host memory has room for one."""
        assert node.seq_id is not None
        if node.copy is None and len(node.tokens) <= self.n_host_cells:
            self.save(node)
        self.memory.seq_rm(node.seq_id, node.start, node.end)
        self.cached_cells -= len(node.tokens)
        self.free_ids.append(node.seq_id)
        if node.copy is None:
            self._remove(node)
            return
        self.tree.mark_offloaded(node)
        while self.host_cells > self.n_host_cells:
            self._drop_a_copy()

    def restore(self, node: Node) -> bool:
        """Fill cells for a locked node from its copy, which stays; return False without cells or an id for it."""
        n = len(node.tokens)
        if not self.make_room(n):
            return False
        seq_id = self.take_id()
        if seq_id is None:
            return False
        assert node.copy is not None
        if not self.memory.restore(seq_id, node.copy):
            self.free_ids.append(seq_id)
            return False
        self.tree.mark_resident(node, seq_id)
        self.cached_cells += n
        node.last_cell = self.used_cells
        return True

    def drop_copy(self, node: Node) -> None:
        """Drop a node's copy in host memory, if it has one."""
        if node.copy is not None:
            self.host_cells -= len(node.tokens)
            node.copy = None

    def check(self) -> None:
        """Assert that the counts are those of the tree's nodes."""
        nodes = list(self.tree.nodes())
        cached = sum(len(node.tokens) for node in nodes if node.seq_id is not None)
        assert cached == self.cached_cells, f"{cached} == {self.cached_cells}"
        copied = sum(len(node.tokens) for node in nodes if node.copy is not None)
        assert copied == self.host_cells <= self.n_host_cells, f"{copied} == {self.host_cells} <= {self.n_host_cells}"
        assert self.free_cells >= 0, f"{self.free_cells} >= 0"
        assert all(node.copy is not None or node.seq_id is not None for node in nodes)
        self.tree.check()

    def _drop_a_copy(self) -> None:
        """Drop a resident node's copy if one node alone has left its cells, else the least recently used such node."""
        if len(self.tree.unused_copies) == 1:
            copied = (node for node in self.tree.nodes() if node.seq_id is not None and node.copy is not None)
            resident = next(copied, None)
            if resident is not None:
                self.drop_copy(resident)
                return
        self._remove(next(iter(self.tree.unused_copies)))

    def _remove(self, node: Node) -> None:
        """Remove an unused node without cells, and the nodes below it."""
        for child in list(node.children.values()):
            self._remove(child)
        self.drop_copy(node)
        self.tree.remove(node)
