"""A radix tree over token ids: which prefixes are held, in cells or as copies, and who uses them. Pure.

::

    root(salt) ── [tokens 0..40) ─┬─ [40..95)   held by sequence id 17, ref 2
       held by sequence id 9      ├─ [40..61)   held by sequence id 23, ref 0: may leave its cells
                                  └─ [40..70)   a copy in host memory, ref 0: may be forgotten

A resident node owns the cells of its own token range under a sequence id of its own; one that has left them lives on as
a copy in host memory. ``ref`` counts the leases whose path goes through a node. Invariants: everything above a resident
node is resident; what nobody uses stands in the order of last use, every node before the one above it.
"""

import itertools
from collections.abc import Iterator, Sequence

Copy = object
"""What cells hold, as the memory wrote it to host memory."""


class Node:
    """Tokens [start, start + len(tokens)) of every prefix that goes through here."""

    __slots__ = ("children", "copy", "filled", "parent", "ref", "seq_id", "start", "tokens")

    def __init__(self, parent: "Node | None", start: int, tokens: list[int], seq_id: int | None) -> None:
        self.parent = parent
        self.start = start
        self.tokens = tokens
        self.seq_id = seq_id
        """The sequence id of its cells; None while it lives in host memory only."""
        self.copy: Copy | None = None
        """What the cells hold; kept when they are filled from it again."""
        self.filled = 0
        """Cells of the whole memory that were filled when its own were: about how far back they lie."""
        self.children: dict[int, Node] = {}
        self.ref = 0

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
        """Resident nodes that nobody uses, least recently used first: the first has no resident children."""
        self.unused_copies: dict[Node, None] = {}
        """The others that nobody uses, least recently used first: the first is a leaf."""
        self.unused_cells = 0
        """Cells of the unused resident nodes."""

    def root(self, salt: str) -> Node:
        """The root of a salt's tree, made when it is new."""
        root = self._roots.get(salt)
        if root is None:
            root = self._roots[salt] = Node(None, 0, [], None)
            self._salts[root] = salt
        return root

    def forget_empty_root(self, salt: str) -> None:
        """Drop the root of a salt that holds nothing and that nobody leases, so that salts cost nothing for ever."""
        root = self._roots.get(salt)
        if root is not None and not root.children and root.ref == 0:
            del self._roots[salt], self._salts[root]

    def match(self, salt: str, tokens: Sequence[int], limit: int) -> tuple[list[Node], int]:
        """Find the longest held prefix of ``tokens[:limit]``: its nodes, root left out, and its length.

        The last node may match in part: then the length lies inside it.
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
        """Cut resident ``node`` after its first ``length`` tokens; ``seq_id`` holds the new lower part. Return it.

        Both parts have the references that ``node`` had; its copy is of no use any more, and gone.
        """
        assert 0 < length < len(node.tokens), f"0 < {length} < {len(node.tokens)}"
        self._forget_use(node)
        lower = Node(node, node.start + length, node.tokens[length:], seq_id)
        lower.ref, lower.filled, node.copy = node.ref, node.filled, None
        lower.children, node.children = node.children, {node.tokens[length]: lower}
        for child in lower.children.values():
            child.parent = lower
        node.tokens = node.tokens[:length]
        self.touch(lower)
        return lower

    def add(self, parent: Node, tokens: list[int], seq_id: int) -> Node:
        """Hang a new leaf under ``parent``."""
        assert tokens
        assert tokens[0] not in parent.children
        child = Node(parent, parent.end, tokens, seq_id)
        parent.children[tokens[0]] = child
        self.touch(child)
        return child

    def extend(self, node: Node, tokens: list[int]) -> None:
        """Let a node that is in use go on with ``tokens``."""
        assert node.ref
        node.tokens.extend(tokens)

    def remove(self, leaf: Node) -> None:
        """Take an unused leaf away, and its salt's root when that holds nothing more and nobody leases it."""
        assert not leaf.children
        assert leaf.ref == 0
        parent = leaf.parent
        assert parent is not None
        self._forget_use(leaf)
        del parent.children[leaf.tokens[0]]
        leaf.parent = None
        if parent.parent is None:
            self.forget_empty_root(self._salts[parent])

    def leave_cells(self, node: Node) -> None:
        """Note that an unused node lives on as a copy: it is the one used last of those."""
        self._forget_use(node)
        node.seq_id = None
        self._note_use(node)

    def take_cells(self, node: Node, seq_id: int) -> None:
        """Note that a node is resident again."""
        self._forget_use(node)
        node.seq_id = seq_id
        self._note_use(node)

    def lock(self, node: Node) -> None:
        """Count one more lease on the path from the root to ``node``."""
        self._count(node, 1)

    def unlock(self, node: Node) -> None:
        """Count one lease less on the path from the root to ``node``."""
        self._count(node, -1)

    def count(self, node: Node, change: int) -> None:
        """Count leases on ``node`` alone."""
        self._forget_use(node)
        node.ref += change
        assert node.ref >= 0, f"{node.ref} >= 0"
        self._note_use(node)

    def touch(self, node: Node) -> None:
        """Note that ``node`` was used now, and after it what is above it."""
        at: Node | None = node
        while at is not None:
            self._forget_use(at)
            self._note_use(at)
            at = at.parent

    def _count(self, node: Node, change: int) -> None:
        at: Node | None = node
        while at is not None:
            self.count(at, change)
            at = at.parent

    def _forget_use(self, node: Node) -> None:
        if node in self.unused_resident:
            del self.unused_resident[node]
            self.unused_cells -= len(node.tokens)
        self.unused_copies.pop(node, None)

    def _note_use(self, node: Node) -> None:
        if node.ref or node.parent is None:
            return
        if node.seq_id is None:
            self.unused_copies[node] = None
        else:
            self.unused_resident[node] = None
            self.unused_cells += len(node.tokens)

    def check(self) -> None:
        """Assert what the two orders of use promise."""
        unused = [node for node in self.nodes() if not node.ref]
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
        """Every node but the roots."""
        stack = [child for root in self._roots.values() for child in root.children.values()]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(node.children.values())


def common_length(segment: Sequence[int], tokens: Sequence[int], offset: int, limit: int) -> int:
    """How many tokens ``segment`` shares with ``tokens[offset:limit]`` from the start."""
    n = min(len(segment), limit - offset)
    if segment[:n] == tokens[offset : offset + n]:
        return n
    return next(i for i in range(n) if segment[i] != tokens[offset + i])
