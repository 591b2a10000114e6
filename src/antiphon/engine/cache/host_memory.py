"""The operations of the KV memory, which can copy cells to host memory."""

from typing import Protocol

from antiphon.engine.cache.radix_tree import Copy


class Memory(Protocol):
    """Cells that belong to sequence ids, by position: llama.cpp's memory, or a model of it in the tests."""

    def seq_cp(self, source: int, target: int, start: int, end: int) -> None:
        """Add ``target`` to the cells of ``source`` at positions [start, end)."""

    def seq_rm(self, seq_id: int, start: int, end: int) -> None:
        """Remove ``seq_id`` from its cells at positions [start, end); a cell without a sequence id is free."""

    def save(self, seq_id: int) -> Copy:
        """Copy the contents of the cells of ``seq_id`` to host memory."""

    def restore(self, seq_id: int, copy: Copy) -> bool:
        """Fill free cells for ``seq_id``, which has none, from a copy; return False, and fill none, if it fails."""
