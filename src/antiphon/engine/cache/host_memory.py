"""What holds the keys and values of tokens, as the KV cache sees it."""

from typing import Protocol

from antiphon.engine.cache.radix_tree import Copy


class Memory(Protocol):
    """Cells that belong to sets of sequence ids, by position. llama.cpp's memory, or a test's model of it."""

    def seq_cp(self, source: int, target: int, start: int, end: int) -> None:
        """Let ``target`` share ``source``'s cells at positions [start, end)."""

    def seq_rm(self, seq_id: int, start: int, end: int) -> None:
        """Take ``seq_id`` off its cells at positions [start, end)."""

    def save(self, seq_id: int) -> Copy:
        """Copy what the cells of ``seq_id`` hold to host memory."""

    def restore(self, seq_id: int, copy: Copy) -> bool:
        """Fill free cells for ``seq_id``, which holds none, from a copy; False, and none filled, when it cannot be."""
