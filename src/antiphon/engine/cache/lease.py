"""The KV cells of one running sequence."""

from antiphon.engine.cache.radix_tree import Node


class Lease:
    """The KV cells of one running sequence.

    Positions [0, shared) are cells of the nodes from the root to ``node``, [shared, shared + owned) its own, filled.
    ``reserved`` more are kept free for it, so that an admitted prompt can always be computed to its end.
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
        """Positions whose cells are filled, or are filled by the current step."""
        return self.shared + self.owned

    def shares(self, node: Node) -> bool:
        """Return whether a node is on the path from the root to the lease's node."""
        at: Node | None = self.node
        while at is not None:
            if at is node:
                return True
            at = at.parent
        return False
