"""The KV memory's cells: which are free, which a running sequence owns, which are cached prefixes that many share.

Pure bookkeeping over a :class:`Memory`, whose two operations it calls in the order that keeps both in step. Invariant,
checked by :meth:`KVCache.check`: free + cached + owned == cells, and the leases' references are the tree's counts.
"""

from typing import Final, Protocol

from antiphon.engine.radix_tree import Node, RadixTree, common_length


class Memory(Protocol):
    """Cells that belong to sets of sequence ids, by position. llama.cpp's memory, or a test's model of it."""

    def seq_cp(self, source: int, target: int, start: int, end: int) -> None:
        """Let ``target`` share ``source``'s cells at positions [start, end)."""

    def seq_rm(self, seq_id: int, start: int, end: int) -> None:
        """Take ``seq_id`` off its cells at positions [start, end)."""


class Lease:
    """A running sequence's hold on the memory.

    Positions [0, shared) are cells of the tree's path down to ``node``; [shared, shared + owned) are its own, filled;
    ``reserved`` more are set aside for it, so that a prompt that was admitted can always be computed to its end.
    """

    __slots__ = ("node", "owned", "reserved", "salt", "seq_id", "shared")

    def __init__(self, salt: str, seq_id: int, node: Node, shared: int) -> None:
        self.salt = salt
        self.seq_id = seq_id
        self.node = node
        self.shared = shared
        self.owned = 0
        self.reserved = 0

    @property
    def length(self) -> int:
        """Positions whose cells are filled, or are filled by the step at hand."""
        return self.shared + self.owned


class KVCache:
    """``n_cells`` cells and ``n_seq_ids`` sequence ids, given to leases and to the prefixes they leave behind."""

    def __init__(self, memory: Memory, n_cells: int, n_seq_ids: int) -> None:
        self._memory: Final = memory
        self._tree: Final = RadixTree()
        self._free_ids = list(range(n_seq_ids - 1, -1, -1))
        self.n_cells: Final = n_cells
        self._n_seq_ids: Final = n_seq_ids
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
        return sum(len(node.tokens) for node in self._tree.nodes() if node.ref == 0)

    def match_length(self, salt: str, tokens: list[int]) -> int:
        """How much of ``tokens``, at most all but the last, is cached: the last one must be computed for its logits."""
        return self._tree.match(salt, tokens, len(tokens) - 1)[1]

    def acquire(self, salt: str, tokens: list[int]) -> Lease | None:
        """Start a lease on the longest cached prefix of ``tokens``; None when every sequence id is in use."""
        path, length = self._tree.match(salt, tokens, len(tokens) - 1)
        node = path[-1] if path else self._tree.root(salt)
        self._tree.lock(node)
        seq_id = self._take_id()
        if seq_id is not None and path and length < node.end:
            node, length = self._cut(node, length)
        if seq_id is None:
            self._tree.unlock(node)
            self._tree.forget_empty_root(salt)
            return None
        lease = Lease(salt, seq_id, node, length)
        self._share_path(lease)
        self._leases.add(lease)
        return lease

    def reserve(self, lease: Lease, n: int) -> bool:
        """Set ``n`` more cells aside, evicting cached prefixes for them; False, and no change, when it cannot be."""
        if not self.fits(n):
            return False
        while self.free_cells < n:
            self._evict()
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
        if node.ref == 1 and not node.children and node.parent is not None:
            self._memory.seq_cp(lease.seq_id, node.seq_id, lease.shared, lease.length)
            node.tokens.extend(tokens[lease.shared :])
            self._adopted(lease, node)
            return
        seq_id = self._take_id()
        if seq_id is None:
            return
        self._memory.seq_cp(lease.seq_id, seq_id, lease.shared, lease.length)
        child = self._tree.add(node, tokens[lease.shared :], seq_id)
        child.ref = 1
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

    def check(self) -> None:
        """Assert the equations that hold between any two calls."""
        nodes = list(self._tree.nodes())
        cached = sum(len(node.tokens) for node in nodes)
        assert cached == self.cached_cells, f"{cached} == {self.cached_cells}"
        owned = sum(lease.owned + lease.reserved for lease in self._leases)
        assert owned == self.owned_cells, f"{owned} == {self.owned_cells}"
        assert self.free_cells >= 0, f"{self.free_cells} >= 0"
        ids = [node.seq_id for node in nodes] + [lease.seq_id for lease in self._leases] + self._free_ids
        assert sorted(ids) == list(range(self._n_seq_ids)), sorted(ids)
        for node in nodes:
            leases = sum(1 for lease in self._leases if _goes_through(lease, node))
            assert node.ref == leases, f"{node.ref} == {leases} at {node.start}"

    def _share_path(self, lease: Lease) -> None:
        at: Node | None = lease.node
        while at is not None and at.parent is not None:
            self._memory.seq_cp(at.seq_id, lease.seq_id, at.start, at.end)
            at = at.parent

    def _cut(self, node: Node, length: int) -> tuple[Node, int]:
        """Cut ``node``, locked by the caller, at position ``length``; without a free id stop at its parent."""
        assert node.parent is not None
        node.ref -= 1
        if not self._split(node, length - node.start):
            return node.parent, node.start
        node.ref += 1
        return node, length

    def _split(self, node: Node, length: int) -> bool:
        """Cut ``node`` after ``length`` tokens; the lower part gets an id of its own. False when none is free."""
        node.ref += 1
        seq_id = self._take_id()
        node.ref -= 1
        if seq_id is None:
            return False
        lower = self._tree.split(node, length, seq_id)
        lower.ref = node.ref
        self._memory.seq_cp(node.seq_id, seq_id, lower.start, lower.end)
        self._memory.seq_rm(node.seq_id, lower.start, lower.end)
        for lease in self._leases:
            if lease.node is node:
                lease.node = lower
        return True

    def _join_existing(self, lease: Lease, tokens: list[int]) -> None:
        """Go down the tree as far as others have already committed the lease's own tokens."""
        while lease.owned:
            child = lease.node.children.get(tokens[lease.shared])
            if child is None:
                return
            common = common_length(child.tokens, tokens, lease.shared, len(tokens))
            if common < len(child.tokens) and not self._split(child, common):
                return
            self._memory.seq_rm(lease.seq_id, child.start, child.end)
            self._memory.seq_cp(child.seq_id, lease.seq_id, child.start, child.end)
            child.ref += 1
            self._tree.touch(child)
            self._shrink(lease, common)
            lease.node = child

    def _adopted(self, lease: Lease, node: Node) -> None:
        self._tree.touch(node)
        self.cached_cells += lease.owned
        self._shrink(lease, lease.owned)
        lease.node = node

    def _shrink(self, lease: Lease, n: int) -> None:
        lease.owned -= n
        lease.shared += n
        self.owned_cells -= n

    def _take_id(self) -> int | None:
        if not self._free_ids and not self._evict():
            return None
        return self._free_ids.pop()

    def _evict(self) -> bool:
        leaf = self._tree.least_recently_used_leaf()
        if leaf is None:
            return False
        self._memory.seq_rm(leaf.seq_id, leaf.start, leaf.end)
        self.cached_cells -= len(leaf.tokens)
        self._free_ids.append(leaf.seq_id)
        self._tree.remove(leaf)
        return True


def _goes_through(lease: Lease, node: Node) -> bool:
    at: Node | None = lease.node
    while at is not None:
        if at is node:
            return True
        at = at.parent
    return False
