"""A radix tree over token ids: which prefixes are held in the KV memory, and who uses them. Pure: no memory, no time.

::

    root(salt) ── [tokens 0..40) ─┬─ [40..95)   held by sequence id 17, ref 2
       held by sequence id 9      └─ [40..61)   held by sequence id 23, ref 0, a leaf: may be evicted

Every node but a root owns the cells of its own token range under a sequence id of its own. ``ref`` counts the leases
whose path goes through the node; one with ``ref`` 0 and no children may be evicted, least recently used first.
"""

from collections.abc import Iterator, Sequence


class Node:
    """Tokens [start, start + len(tokens)) of every prefix that goes through here."""

    __slots__ = ("children", "last_used", "parent", "ref", "seq_id", "start", "tokens")

    def __init__(self, parent: "Node | None", start: int, tokens: list[int], seq_id: int) -> None:
        self.parent = parent
        self.start = start
        self.tokens = tokens
        self.seq_id = seq_id
        self.children: dict[int, Node] = {}
        self.ref = 0
        self.last_used = 0

    @property
    def end(self) -> int:
        """The position after the node's last token."""
        return self.start + len(self.tokens)


class RadixTree:
    """One tree per salt: a request finds the prefixes of its own salt only."""

    def __init__(self) -> None:
        self._roots: dict[str, Node] = {}
        self._salts: dict[Node, str] = {}
        self._clock = 0

    def root(self, salt: str) -> Node:
        """The root of a salt's tree, made when it is new."""
        root = self._roots.get(salt)
        if root is None:
            root = self._roots[salt] = Node(None, 0, [], -1)
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
        """Cut ``node`` after its first ``length`` tokens; the new lower part is held by ``seq_id``. Return it."""
        assert 0 < length < len(node.tokens), f"0 < {length} < {len(node.tokens)}"
        lower = Node(node, node.start + length, node.tokens[length:], seq_id)
        lower.children, node.children = node.children, {node.tokens[length]: lower}
        for child in lower.children.values():
            child.parent = lower
        lower.last_used = node.last_used
        node.tokens = node.tokens[:length]
        return lower

    def add(self, parent: Node, tokens: list[int], seq_id: int) -> Node:
        """Hang a new leaf under ``parent``."""
        assert tokens
        assert tokens[0] not in parent.children
        child = Node(parent, parent.end, tokens, seq_id)
        parent.children[tokens[0]] = child
        self.touch(child)
        return child

    def remove(self, leaf: Node) -> None:
        """Take an unused leaf away, and its salt's root when that holds nothing more and nobody leases it."""
        assert not leaf.children
        assert leaf.ref == 0
        parent = leaf.parent
        assert parent is not None
        del parent.children[leaf.tokens[0]]
        leaf.parent = None
        if parent.parent is None:
            self.forget_empty_root(self._salts[parent])

    def lock(self, node: Node) -> None:
        """Count one more lease on the path from the root to ``node``."""
        self._count(node, 1)

    def unlock(self, node: Node) -> None:
        """Count one lease less on the path from the root to ``node``."""
        self._count(node, -1)

    def _count(self, node: Node, change: int) -> None:
        at: Node | None = node
        while at is not None:
            at.ref += change
            assert at.ref >= 0, f"{at.ref} >= 0"
            self.touch(at)
            at = at.parent

    def touch(self, node: Node) -> None:
        """Note that ``node`` was used now."""
        self._clock += 1
        node.last_used = self._clock

    def nodes(self) -> Iterator[Node]:
        """Every node but the roots."""
        stack = [child for root in self._roots.values() for child in root.children.values()]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(node.children.values())

    def least_recently_used_leaf(self) -> Node | None:
        """The leaf to evict next: unused, and idle for longest. Its cost is the number of nodes, at most 256."""
        unused = (node for node in self.nodes() if node.ref == 0 and not node.children)
        return min(unused, key=lambda node: node.last_used, default=None)


def common_length(segment: Sequence[int], tokens: Sequence[int], offset: int, limit: int) -> int:
    """How many tokens ``segment`` shares with ``tokens[offset:limit]`` from the start."""
    n = min(len(segment), limit - offset)
    if segment[:n] == tokens[offset : offset + n]:
        return n
    return next(i for i in range(n) if segment[i] != tokens[offset + i])
