"""The KV memory's cells: which are free, which a running sequence owns, which are cached prefixes that many share.

Every decode walks over all filled cells, so prefixes that nobody uses tax every stream (docs/performance.md). They are
moved to host memory, from where they come back in a fraction of the time that computing them takes.

Pure bookkeeping over a :class:`Memory`, whose operations it calls in the order that keeps both in step. Invariant,
checked by :meth:`KVCache.check`: free + cached + owned == cells, and the leases' references are the tree's counts.
"""

from typing import Final

from antiphon.engine.cache.host_memory import Memory
from antiphon.engine.cache.lease import Lease
from antiphon.engine.cache.radix_tree import Node, RadixTree, common_length

COLD_CELLS: Final = 256
"""Cells of unused prefixes that are left where they are, unless that is behind free ones: what comes back from host
memory lies in other cells, whose attention is summed in another order, and short answers should not differ by that."""
MOVED_AT_ONCE: Final = 1024
"""Tokens that one step may move to host memory, so that no stream waits long for it."""
MOVED_FOR_ONE: Final = 2048
"""Tokens that are copied at most before a sequence starts alone, or at once while nobody runs, so that who comes does
not wait long for it."""
MIN_SEGMENT: Final = 256
"""Tokens: a prefix with a copy in host memory is continued in a node of its own from this length on, so that its copy
stays good; a shorter one is extended, so that long conversations do not use up the sequence ids."""
SEGMENTS: Final = 32
"""Nodes that the longest conversation is cut into for this reason."""


class KVCache:
    """``n_cells`` cells and ``n_seq_ids`` sequence ids, given to leases and to the prefixes they leave behind.

    Copies of up to ``n_host_cells`` cells are kept in host memory; with 0 none are, and prefixes stay in their cells.
    """

    def __init__(self, memory: Memory, n_cells: int, n_seq_ids: int, n_host_cells: int = 0) -> None:
        self._memory: Final = memory
        self._tree: Final = RadixTree()
        self._free_ids = list(range(n_seq_ids - 1, -1, -1))
        self.n_cells: Final = n_cells
        self._n_seq_ids: Final = n_seq_ids
        self.n_host_cells: Final = n_host_cells
        self._segment = max(MIN_SEGMENT, n_cells // SEGMENTS)
        self._cold_cells = COLD_CELLS
        self._moved_at_once = MOVED_AT_ONCE
        self._moved_for_one = MOVED_FOR_ONE
        self.host_cells = 0
        """Cells that have a copy in host memory, whether or not they are filled, too."""
        self.cached_cells = 0
        self.owned_cells = 0
        """Cells that leases own or have reserved."""
        self._leases: set[Lease] = set()

    @property
    def free_cells(self) -> int:
        """Cells that nobody holds."""
        return self.n_cells - self.cached_cells - self.owned_cells

    @property
    def evictable_cells(self) -> int:
        """Cells of cached prefixes that no running sequence goes through."""
        return self._tree.unused_cells

    def match_length(self, salt: str, tokens: list[int]) -> int:
        """How much of ``tokens``, at most all but the last, is cached: the last one must be computed for its logits."""
        return self._tree.match(salt, tokens, len(tokens) - 1)[1]

    def missing_cells(self, salt: str, tokens: list[int]) -> int:
        """Cells that a lease on ``tokens`` must fill, by computing them or from host memory."""
        path, length = self._tree.match(salt, tokens, len(tokens) - 1)
        copied = (len(node.tokens) - max(0, node.end - length) for node in path if node.seq_id is None)
        return len(tokens) - length + sum(copied)

    def acquire(self, salt: str, tokens: list[int]) -> Lease | None:
        """Start a lease on the longest cached prefix of ``tokens``; None when every sequence id is in use.

        What of the prefix is in host memory only is brought back, as far as there are cells and ids for it.
        """
        path, length = self._tree.match(salt, tokens, len(tokens) - 1)
        node = path[-1] if path else self._tree.root(salt)
        self._tree.lock(node)
        alone = not self._leases
        if alone:
            self._offload_unused()
        seq_id = self._take_id()
        if seq_id is None:
            self._tree.unlock(node)
            self._tree.forget_empty_root(salt)
            return None
        node, length = self._bring_back(path, node, length)
        if node.parent is not None and length < node.end:
            node, length = self._cut(node, length)
        if alone:
            self._offload_unused()
        lease = Lease(salt, seq_id, node, length)
        self._share_path(lease)
        self._leases.add(lease)
        return lease

    def reserve(self, lease: Lease, n: int) -> bool:
        """Set ``n`` more cells aside, evicting cached prefixes for them; False, and no change, when it cannot be."""
        if not self.fits(n):
            return False
        self._free(n)
        lease.reserved += n
        self.owned_cells += n
        return True

    def fits(self, n: int) -> bool:
        """Whether ``n`` cells are free or can be made free."""
        return self.free_cells >= n or self.free_cells + self.evictable_cells >= n

    def fill(self, lease: Lease, n: int) -> None:
        """Turn ``n`` of the reserved cells into owned ones: the step at hand writes them."""
        assert n <= lease.reserved, f"{n} <= {lease.reserved}"
        lease.reserved -= n
        lease.owned += n

    def truncate(self, lease: Lease, length: int) -> None:
        """Free the lease's own cells from position ``length`` on: what a draft wrote there was not accepted."""
        n = lease.length - length
        assert 0 <= n <= lease.owned, f"0 <= {n} <= {lease.owned}"
        if n:
            self._memory.seq_rm(lease.seq_id, length, lease.length)
            lease.owned -= n
            self.owned_cells -= n

    def commit(self, lease: Lease, tokens: list[int]) -> None:
        """Move the lease's own cells, now computed for ``tokens``, into the tree, so that others can share them.

        ``tokens`` are all of the sequence's held tokens. Where another sequence committed the same tokens first, its
        cells are kept and the lease's own are freed.
        """
        assert len(tokens) == lease.length, f"{len(tokens)} == {lease.length}"
        self._join_existing(lease, tokens)
        node = lease.node
        if lease.owned == 0 or tokens[lease.shared] in node.children:
            return
        if node.ref == 1 and not node.children and node.parent is not None and self._may_grow(node):
            assert node.seq_id is not None
            self._memory.seq_cp(lease.seq_id, node.seq_id, lease.shared, lease.length)
            self._tree.extend(node, tokens[lease.shared :])
            self._adopted(lease, node)
            return
        seq_id = self._take_id()
        if seq_id is None:
            return
        self._memory.seq_cp(lease.seq_id, seq_id, lease.shared, lease.length)
        child = self._tree.add(node, tokens[lease.shared :], seq_id)
        self._tree.count(child, 1)
        self._adopted(lease, child)

    def release(self, lease: Lease, tokens: list[int]) -> None:
        """End a lease whose cells hold ``tokens``; what can be shared stays cached, the rest is freed."""
        self.commit(lease, tokens)
        self._memory.seq_rm(lease.seq_id, 0, lease.length)
        self.owned_cells -= lease.owned + lease.reserved
        self._tree.unlock(lease.node)
        self._leases.remove(lease)
        self._free_ids.append(lease.seq_id)
        self._tree.forget_empty_root(lease.salt)

    def offload_idle(self, most: int | None = None) -> None:
        """Move prefixes that nobody uses to host memory, the one that was idle for longest first.

        To be called once in a step; ``most`` tokens are moved, by default as many as no stream waits long for.
        """
        left = self._moved_at_once if most is None else most
        while left > 0 and self.n_host_cells and self._is_cold():
            node = next(iter(self._tree.unused_resident))
            spare = len(node.tokens) - left
            if spare > 0 and node.copy is None:
                node = self._split(node, spare) or node
            left -= len(node.tokens)
            self._offload(node)

    def copy_idle_prefix(self) -> bool:
        """Copy a prefix that nobody uses, or the end of a long one, to host memory; False when that cannot be done.

        To be called while nobody runs. Its cells stay as they are until somebody is to have them, which then costs
        nothing.
        """
        node = next((node for node in self._tree.unused_resident if node.copy is None), None)
        if node is None or min(len(node.tokens), self._moved_for_one) + self.host_cells > self.n_host_cells:
            return False
        spare = len(node.tokens) - self._moved_for_one
        if spare > 0:
            node = self._split(node, spare) if self._free_ids else None
        if node is None:
            return False
        self._save(node)
        return True

    def check(self) -> None:
        """Assert the equations that hold between any two calls."""
        nodes = list(self._tree.nodes())
        resident = [node for node in nodes if node.seq_id is not None]
        cached = sum(len(node.tokens) for node in resident)
        assert cached == self.cached_cells, f"{cached} == {self.cached_cells}"
        copied = sum(len(node.tokens) for node in nodes if node.copy is not None)
        assert copied == self.host_cells <= self.n_host_cells, f"{copied} == {self.host_cells} <= {self.n_host_cells}"
        owned = sum(lease.owned + lease.reserved for lease in self._leases)
        assert owned == self.owned_cells, f"{owned} == {self.owned_cells}"
        assert self.free_cells >= 0, f"{self.free_cells} >= 0"
        ids = [node.seq_id for node in resident] + [lease.seq_id for lease in self._leases] + self._free_ids
        assert sorted(i for i in ids if i is not None) == list(range(self._n_seq_ids)), ids
        for node in nodes:
            leases = sum(1 for lease in self._leases if lease.goes_through(node))
            assert node.ref == leases, f"{node.ref} == {leases} at {node.start}"
            assert node.copy is not None or node.seq_id is not None
        self._tree.check()

    def _bring_back(self, path: list[Node], node: Node, length: int) -> tuple[Node, int]:
        """Fill the cells of a locked path; where that ends early, lock what comes before instead."""
        for at in path:
            if at.seq_id is None and not self._restore(at):
                assert at.parent is not None
                self._tree.unlock(node)
                self._tree.lock(at.parent)
                return at.parent, at.start
        return node, length

    def _offload_unused(self) -> None:
        """Move what nobody uses: who runs alone then has the cells that it had the last time, whatever ran between.

        Attention sums in the order of the cells, in half precision, so equal requests get equal answers by it.
        """
        left = self._moved_for_one
        while self._tree.unused_resident:
            node = next(iter(self._tree.unused_resident))
            new = 0 if node.copy is not None else len(node.tokens)
            if new > left or new + self.host_cells > self.n_host_cells:
                return
            left -= new
            self._offload(node)

    def _is_cold(self) -> bool:
        """Whether prefixes that nobody uses are many, or lie behind cells that have become free since."""
        if self._tree.unused_cells > self._cold_cells:
            return True
        behind = self._filled_cells + self._cold_cells
        return any(node.filled > behind for node in self._tree.unused_resident)

    @property
    def _filled_cells(self) -> int:
        return self.cached_cells + self.owned_cells

    def _restore(self, node: Node) -> bool:
        """Fill the cells of a locked node from its copy, which stays for the next time."""
        n = len(node.tokens)
        if not self.fits(n):
            return False
        self._free(n)
        seq_id = self._take_id()
        if seq_id is None:
            return False
        assert node.copy is not None
        if not self._memory.restore(seq_id, node.copy):
            self._free_ids.append(seq_id)
            return False
        self._tree.take_cells(node, seq_id)
        self.cached_cells += n
        node.filled = self._filled_cells
        return True

    def _may_grow(self, node: Node) -> bool:
        """Whether to extend a node that nobody else uses: one whose copy would be lost only while it is short."""
        if node.copy is not None and len(node.tokens) >= self._segment:
            return False
        self._forget_copy(node)
        return True

    def _share_path(self, lease: Lease) -> None:
        at: Node | None = lease.node
        while at is not None and at.parent is not None:
            assert at.seq_id is not None
            self._memory.seq_cp(at.seq_id, lease.seq_id, at.start, at.end)
            at = at.parent

    def _cut(self, node: Node, length: int) -> tuple[Node, int]:
        """Cut ``node``, locked by the caller, at position ``length``; without a free id stop at its parent."""
        assert node.parent is not None
        lower = self._split(node, length - node.start)
        if lower is None:
            self._tree.count(node, -1)
            return node.parent, node.start
        self._tree.count(lower, -1)
        return node, length

    def _split(self, node: Node, length: int) -> Node | None:
        """Cut a resident node after ``length`` tokens; the lower part gets an id of its own; None without one."""
        self._tree.lock(node)
        seq_id = self._take_id()
        self._tree.unlock(node)
        if seq_id is None:
            return None
        assert node.seq_id is not None
        self._forget_copy(node)
        lower = self._tree.split(node, length, seq_id)
        self._memory.seq_cp(node.seq_id, seq_id, lower.start, lower.end)
        self._memory.seq_rm(node.seq_id, lower.start, lower.end)
        for lease in self._leases:
            if lease.node is node:
                lease.node = lower
        return lower

    def _join_existing(self, lease: Lease, tokens: list[int]) -> None:
        """Go down the tree as far as others have already committed the lease's own tokens."""
        while lease.owned:
            child = lease.node.children.get(tokens[lease.shared])
            if child is None or child.seq_id is None:
                return
            common = common_length(child.tokens, tokens, lease.shared, len(tokens))
            if common < len(child.tokens) and self._split(child, common) is None:
                return
            self._memory.seq_rm(lease.seq_id, child.start, child.end)
            self._memory.seq_cp(child.seq_id, lease.seq_id, child.start, child.end)
            self._tree.count(child, 1)
            self._shrink(lease, common)
            lease.node = child

    def _adopted(self, lease: Lease, node: Node) -> None:
        self.cached_cells += lease.owned
        self._shrink(lease, lease.owned)
        lease.node = node
        node.filled = max(node.filled, self._filled_cells)

    def _shrink(self, lease: Lease, n: int) -> None:
        lease.owned -= n
        lease.shared += n
        self.owned_cells -= n

    def _take_id(self) -> int | None:
        if not self._free_ids and not self._evict():
            return None
        return self._free_ids.pop()

    def _free(self, n: int) -> None:
        """Free ``n`` cells, which fit."""
        while self.free_cells < n:
            self._evict()

    def _evict(self) -> bool:
        """Empty the cells of the prefix that was idle for longest; False when all are in use."""
        node = next(iter(self._tree.unused_resident), None)
        if node is None:
            return False
        self._offload(node)
        return True

    def _offload(self, node: Node) -> None:
        """Empty the cells of an unused node, whose copy stays, where host memory has room for one."""
        assert node.seq_id is not None
        if node.copy is None and len(node.tokens) <= self.n_host_cells:
            self._save(node)
        self._memory.seq_rm(node.seq_id, node.start, node.end)
        self.cached_cells -= len(node.tokens)
        self._free_ids.append(node.seq_id)
        if node.copy is None:
            self._forget(node)
            return
        self._tree.leave_cells(node)
        while self.host_cells > self.n_host_cells:
            self._shed_copy()

    def _save(self, node: Node) -> None:
        assert node.seq_id is not None
        node.copy = self._memory.save(node.seq_id)
        self.host_cells += len(node.tokens)

    def _shed_copy(self) -> None:
        """Forget a copy: of the prefix that was idle for longest, or of one that has its cells."""
        held = (node for node in self._tree.nodes() if node.seq_id is not None and node.copy is not None)
        resident = next(held, None) if len(self._tree.unused_copies) == 1 else None
        if resident is None:
            self._forget(next(iter(self._tree.unused_copies)))
        else:
            self._forget_copy(resident)

    def _forget(self, node: Node) -> None:
        """Remove an unused node without cells, and what was cached below it."""
        for child in list(node.children.values()):
            self._forget(child)
        self._forget_copy(node)
        self._tree.remove(node)

    def _forget_copy(self, node: Node) -> None:
        if node.copy is not None:
            self.host_cells -= len(node.tokens)
            node.copy = None
