"""A running sequence's hold on the KV memory."""

from antiphon.engine.cache.radix_tree import Node


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

    def goes_through(self, node: Node) -> bool:
        """Whether a node is on the tree's path down to the lease's."""
        at: Node | None = self.node
        while at is not None:
            if at is node:
                return True
            at = at.parent
        return False
