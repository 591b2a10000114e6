"""A radix tree over token ids: the cached prefixes, in cells or as copies, and their users. Pure.

::

    root(salt) ── [tokens 0..40) ─┬─ [40..95)   cells of sequence id 17, 2 references
       cells of sequence id 9     ├─ [40..61)   cells of sequence id 23, no reference: may be offloaded
                                  └─ [40..70)   a copy in host memory, no reference: may be removed

A resident node has the cells of its own token range, under a sequence id of its own. An offloaded node has a copy in
host memory only. References count the leases that share a node. Invariants: every node above a resident one is
resident; unused nodes are ordered by their last use, and a node comes before its parent.
"""

import itertools
from collections.abc import Iterator, Sequence

Copy = object
"""The contents of cells in host memory."""


class Node:
    """Tokens [start, start + len(tokens)) of every prefix that goes through the node."""

    __slots__ = ("children", "copy", "last_cell", "parent", "ref_count", "seq_id", "start", "tokens")

    def __init__(self, parent: "Node | None", start: int, tokens: list[int], seq_id: int | None) -> None:
        self.parent = parent
        self.start = start
        self.tokens = tokens
        self.seq_id = seq_id
        """The sequence id of the node's cells; None while it is offloaded."""
        self.copy: Copy | None = None
        """The contents of the cells in host memory; kept when the node is restored."""
        self.last_cell = 0
        """The number of used cells in the memory after the node's were filled: an estimate of its last cell's index."""
        self.children: dict[int, Node] = {}
        self.ref_count = 0

    @property
    def end(self) -> int:
        """The position after the node's last token."""
        return self.start + len(self.tokens)


class RadixTree:
    """One tree per salt: a request finds the prefixes of its own salt only."""

    def __init__(self) -> None:
        self._roots: dict[str, Node] = {}
        self._salts: dict[Node, str] = {}
        self.unused_resident: dict[Node, None] = {}
        """Resident nodes without references, least recently used first: the first has no resident children."""
        self.unused_copies: dict[Node, None] = {}
        """Offloaded nodes without references, least recently used first: the first is a leaf."""
        self.unused_cells = 0
        """Cells of the unused resident nodes."""

    def root(self, salt: str) -> Node:
        """Return the root of a salt's tree, made when the salt is new."""
        root = self._roots.get(salt)
        if root is None:
            root = self._roots[salt] = Node(None, 0, [], None)
            self._salts[root] = salt
        return root

    def drop_empty_root(self, salt: str) -> None:
        """Drop a salt's root without children and references, so that old salts take no memory."""
        root = self._roots.get(salt)
        if root is not None and not root.children and root.ref_count == 0:
            del self._roots[salt], self._salts[root]

    def match(self, salt: str, tokens: Sequence[int], limit: int) -> tuple[list[Node], int]:
        """Return the nodes of the longest cached prefix of ``tokens[:limit]``, without the root, and its length.

        The last node may match in part: the length then ends inside the node.
        """
        path: list[Node] = []
        node = self._roots.get(salt)
        length = 0
        while node is not None and length < limit:
            child = node.children.get(tokens[length])
            if child is None:
                break
            common = common_length(child.tokens, tokens, length, limit)
            path.append(child)
            length += common
            if common < len(child.tokens):
                break
            node = child
        return path, length

    def split(self, node: Node, length: int, seq_id: int) -> Node:
        """Cut resident ``node`` after its first ``length`` tokens; return the new lower part, whose id is ``seq_id``.

        Both parts get the references of ``node``. The copy, which covered both, is dropped.
        """
        assert 0 < length < len(node.tokens), f"0 < {length} < {len(node.tokens)}"
        self._remove_from_order(node)
        lower = Node(node, node.start + length, node.tokens[length:], seq_id)
        lower.ref_count, lower.last_cell, node.copy = node.ref_count, node.last_cell, None
        lower.children, node.children = node.children, {node.tokens[length]: lower}
        for child in lower.children.values():
            child.parent = lower
        node.tokens = node.tokens[:length]
        self.touch(lower)
        return lower

    def add(self, parent: Node, tokens: list[int], seq_id: int) -> Node:
        """Add a resident leaf under ``parent``, and return it."""
        assert tokens
        assert tokens[0] not in parent.children
        child = Node(parent, parent.end, tokens, seq_id)
        parent.children[tokens[0]] = child
        self.touch(child)
        return child

    def extend(self, node: Node, tokens: list[int]) -> None:
        """Append ``tokens`` to a node that is in use."""
        assert node.ref_count
        node.tokens.extend(tokens)

    def remove(self, leaf: Node) -> None:
        """Remove an unused leaf, and its salt's root if that is empty and without references then."""
        assert not leaf.children
        assert leaf.ref_count == 0
        parent = leaf.parent
        assert parent is not None
        self._remove_from_order(leaf)
        del parent.children[leaf.tokens[0]]
        leaf.parent = None
        if parent.parent is None:
            self.drop_empty_root(self._salts[parent])

    def mark_offloaded(self, node: Node) -> None:
        """Make an unused node with a copy the most recently used offloaded one."""
        self._remove_from_order(node)
        node.seq_id = None
        self._append_to_order(node)

    def mark_resident(self, node: Node, seq_id: int) -> None:
        """Give an offloaded node the cells of a sequence id."""
        self._remove_from_order(node)
        node.seq_id = seq_id
        self._append_to_order(node)

    def lock(self, node: Node) -> None:
        """Add a reference to every node from the root to ``node``."""
        self._add_refs_to_path(node, 1)

    def unlock(self, node: Node) -> None:
        """Remove a reference from every node from the root to ``node``."""
        self._add_refs_to_path(node, -1)

    def add_refs(self, node: Node, change: int) -> None:
        """Add ``change`` references to ``node`` alone, or remove them if it is negative."""
        self._remove_from_order(node)
        node.ref_count += change
        assert node.ref_count >= 0, f"{node.ref_count} >= 0"
        self._append_to_order(node)

    def touch(self, node: Node) -> None:
        """Mark the path from ``node`` up to the root as used now, in that order."""
        at: Node | None = node
        while at is not None:
            self._remove_from_order(at)
            self._append_to_order(at)
            at = at.parent

    def _add_refs_to_path(self, node: Node, change: int) -> None:
        at: Node | None = node
        while at is not None:
            self.add_refs(at, change)
            at = at.parent

    def _remove_from_order(self, node: Node) -> None:
        if node in self.unused_resident:
            del self.unused_resident[node]
            self.unused_cells -= len(node.tokens)
        self.unused_copies.pop(node, None)

    def _append_to_order(self, node: Node) -> None:
        if node.ref_count or node.parent is None:
            return
        if node.seq_id is None:
            self.unused_copies[node] = None
        else:
            self.unused_resident[node] = None
            self.unused_cells += len(node.tokens)

    def check(self) -> None:
        """Assert the invariants of residence and of both orders of use."""
        unused = [node for node in self.nodes() if not node.ref_count]
        assert set(self.unused_resident) == {node for node in unused if node.seq_id is not None}
        assert set(self.unused_copies) == {node for node in unused if node.seq_id is None}
        assert self.unused_cells == sum(len(node.tokens) for node in self.unused_resident)
        for node in self.nodes():
            above = node.parent
            assert node.seq_id is None or above is None or above.parent is None or above.seq_id is not None
        for order in (list(self.unused_resident), list(self.unused_copies)):
            for earlier, later in itertools.combinations(order, 2):
                assert later.parent is not earlier, f"{earlier.tokens} goes before {later.tokens}"

    def nodes(self) -> Iterator[Node]:
        """Yield every node but the roots."""
        stack = [child for root in self._roots.values() for child in root.children.values()]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(node.children.values())


def common_length(segment: Sequence[int], tokens: Sequence[int], offset: int, limit: int) -> int:
    """Return how many tokens ``segment`` and ``tokens[offset:limit]`` have in common at the start."""
    n = min(len(segment), limit - offset)
    if segment[:n] == tokens[offset : offset + n]:
        return n
    return next(i for i in range(n) if segment[i] != tokens[offset + i])
