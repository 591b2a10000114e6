"""The KV cache: leases of cells for running sequences, which share the cached prefixes of their prompts.

Invariant, checked by :meth:`KVCache.check`: the references of the tree's nodes are the leases that share them.
"""

from typing import Final

from antiphon.engine.cache.cell_pool import CellPool
from antiphon.engine.cache.host_memory import Memory
from antiphon.engine.cache.lease import Lease
from antiphon.engine.cache.offloading import Offloading
from antiphon.engine.cache.radix_tree import Node, common_length


class KVCache:
    """Leases on a pool of ``n_cells`` cells and ``n_seq_ids`` sequence ids, and the prefixes that ended leases leave.

    Host memory keeps copies of up to ``n_host_cells`` cells; with 0 no prefix is offloaded.
    """

    def __init__(self, memory: Memory, n_cells: int, n_seq_ids: int, n_host_cells: int = 0) -> None:
        self.pool: Final = CellPool(memory, n_cells, n_seq_ids, n_host_cells)
        self.offloading: Final = Offloading(self.pool)
        self._memory: Final = memory
        self._tree: Final = self.pool.tree
        self._leases: set[Lease] = set()

    def match_length(self, salt: str, tokens: list[int]) -> int:
        """Return how many of ``tokens`` are cached, the last one left out: it is computed for its logits."""
        return self._tree.match(salt, tokens, len(tokens) - 1)[1]

    def missing_cells(self, salt: str, tokens: list[int]) -> int:
        """Return how many cells a lease on ``tokens`` must fill, by computing them or from host memory."""
        path, length = self._tree.match(salt, tokens, len(tokens) - 1)
        copied = (len(node.tokens) - max(0, node.end - length) for node in path if node.seq_id is None)
        return len(tokens) - length + sum(copied)

    def acquire(self, salt: str, tokens: list[int]) -> Lease | None:
        """Start a lease on the longest cached prefix of ``tokens``; return None when leases hold every sequence id.

        Restores offloaded nodes of the prefix while cells and ids last.
        """
        path, length = self._tree.match(salt, tokens, len(tokens) - 1)
        node = path[-1] if path else self._tree.root(salt)
        self._tree.lock(node)
        is_alone = not self._leases
        if is_alone:
            self.offloading.clear_cells()  # before the restore, so that it fills the cells that it filled last time
        seq_id = self.pool.take_id()
        if seq_id is None:
            self._tree.unlock(node)
            self._tree.drop_empty_root(salt)
            return None
        node, length = self._restore_path(path, node, length)
        if node.parent is not None and length < node.end:
            node, length = self._cut(node, length)
        if is_alone:
            self.offloading.clear_cells()  # after the cut, whose lower part lies where the next tokens lay last time
        lease = Lease(salt, seq_id, node, length)
        self._share_path(lease)
        self._leases.add(lease)
        return lease

    def reserve(self, lease: Lease, n: int) -> bool:
        """Reserve ``n`` more cells, evicting prefixes for them; return False and change nothing if they do not fit."""
        if not self.pool.make_room(n):
            return False
        lease.reserved += n
        self.pool.owned_cells += n
        return True

    def fill(self, lease: Lease, n: int) -> None:
        """Turn ``n`` reserved cells into owned ones, which the current step writes."""
        assert n <= lease.reserved, f"{n} <= {lease.reserved}"
        lease.reserved -= n
        lease.owned += n

    def truncate(self, lease: Lease, length: int) -> None:
        """Free the owned cells from position ``length`` on: a rejected draft."""
        n = lease.length - length
        assert 0 <= n <= lease.owned, f"0 <= {n} <= {lease.owned}"
        if n:
            self._memory.seq_rm(lease.seq_id, length, lease.length)
            lease.owned -= n
            self.pool.owned_cells -= n

    def commit(self, lease: Lease, tokens: list[int]) -> None:
        """Move the owned cells, computed for the end of ``tokens``, into the tree, where other leases can share them.

        ``tokens`` are those of all the lease's cells. Where another lease committed the same tokens first, its cells
        are kept and the owned ones freed.
        """
        assert len(tokens) == lease.length, f"{len(tokens)} == {lease.length}"
        self._join_existing(lease, tokens)
        node = lease.node
        if lease.owned == 0 or tokens[lease.shared] in node.children:
            return
        if self._is_extended(node):
            assert node.seq_id is not None
            self.pool.drop_copy(node)
            self._memory.seq_cp(lease.seq_id, node.seq_id, lease.shared, lease.length)
            self._tree.extend(node, tokens[lease.shared :])
            self._share_owned(lease, node)
            return
        seq_id = self.pool.take_id()
        if seq_id is None:
            return
        self._memory.seq_cp(lease.seq_id, seq_id, lease.shared, lease.length)
        child = self._tree.add(node, tokens[lease.shared :], seq_id)
        self._tree.add_refs(child, 1)
        self._share_owned(lease, child)

    def release(self, lease: Lease, tokens: list[int]) -> None:
        """End a lease whose cells hold ``tokens``: they stay cached as a prefix where possible, and are else freed."""
        self.commit(lease, tokens)
        self._memory.seq_rm(lease.seq_id, 0, lease.length)
        self.pool.owned_cells -= lease.owned + lease.reserved
        self._tree.unlock(lease.node)
        self._leases.remove(lease)
        self.pool.free_ids.append(lease.seq_id)
        self._tree.drop_empty_root(lease.salt)

    def check(self) -> None:
        """Assert the equations that hold between any two calls."""
        owned = sum(lease.owned + lease.reserved for lease in self._leases)
        assert owned == self.pool.owned_cells, f"{owned} == {self.pool.owned_cells}"
        nodes = list(self._tree.nodes())
        ids = [node.seq_id for node in nodes] + [lease.seq_id for lease in self._leases] + self.pool.free_ids
        assert sorted(i for i in ids if i is not None) == list(range(self.pool.n_seq_ids)), ids
        for node in nodes:
            leases = sum(1 for lease in self._leases if lease.shares(node))
            assert node.ref_count == leases, f"{node.ref_count} == {leases} at {node.start}"
        self.pool.check()

    def _restore_path(self, path: list[Node], node: Node, length: int) -> tuple[Node, int]:
        """Restore the offloaded nodes of a locked path; return its last node and its length.

        Where that fails, the lock moves to the node above, and the path ends there.
        """
        for at in path:
            if at.seq_id is None and not self.pool.restore(at):
                assert at.parent is not None
                self._tree.unlock(node)
                self._tree.lock(at.parent)
                return at.parent, at.start
        return node, length

    def _share_path(self, lease: Lease) -> None:
        at: Node | None = lease.node
        while at is not None and at.parent is not None:
            assert at.seq_id is not None
            self._memory.seq_cp(at.seq_id, lease.seq_id, at.start, at.end)
            at = at.parent

    def _cut(self, node: Node, length: int) -> tuple[Node, int]:
        """Cut a locked node at position ``length`` and unlock its lower part; without a free id end at its parent."""
        assert node.parent is not None
        lower = self._split(node, length - node.start)
        if lower is None:
            self._tree.add_refs(node, -1)
            return node.parent, node.start
        self._tree.add_refs(lower, -1)
        return node, length

    def _split(self, node: Node, length: int) -> Node | None:
        """Cut a resident node after ``length`` tokens; leases that end in it end in its lower part then."""
        lower = self.pool.split(node, length)
        if lower is not None:
            for lease in self._leases:
                if lease.node is node:
                    lease.node = lower
        return lower

    def _join_existing(self, lease: Lease, tokens: list[int]) -> None:
        """Share the nodes that other leases committed for the lease's own tokens, and free its cells for them."""
        while lease.owned:
            child = lease.node.children.get(tokens[lease.shared])
            if child is None or child.seq_id is None:
                return
            common = common_length(child.tokens, tokens, lease.shared, len(tokens))
            if common < len(child.tokens) and self._split(child, common) is None:
                return
            self._memory.seq_rm(lease.seq_id, child.start, child.end)
            self._memory.seq_cp(child.seq_id, lease.seq_id, child.start, child.end)
            self._tree.add_refs(child, 1)
            self._count_as_shared(lease, common)
            lease.node = child

    def _is_extended(self, node: Node) -> bool:
        """Return whether the tokens after a lease's node go into that node, which no other lease shares."""
        is_own_leaf = node.ref_count == 1 and not node.children and node.parent is not None
        return is_own_leaf and not self.offloading.keeps_copy(node)

    def _share_owned(self, lease: Lease, node: Node) -> None:
        """Count the owned cells, which are ``node``'s now, as cached and shared."""
        self.pool.cached_cells += lease.owned
        self._count_as_shared(lease, lease.owned)
        lease.node = node
        node.last_cell = max(node.last_cell, self.pool.used_cells)

    def _count_as_shared(self, lease: Lease, n: int) -> None:
        lease.owned -= n
        lease.shared += n
        self.pool.owned_cells -= n
