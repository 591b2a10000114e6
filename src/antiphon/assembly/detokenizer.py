"""Bytes of tokens to text, incrementally: a character that spans tokens comes out whole, once.

Invariant: what ``push`` and the final ``flush`` return, concatenated, is ``bytes.decode("utf-8", "replace")`` of all
that was pushed, for any split of the bytes; the cost of a push does not depend on what came before.
"""

from codecs import utf_8_decode
from typing import Protocol


class Vocabulary(Protocol):
    """What the assembly needs to know of a tokenizer."""

    def token_bytes(self, token_id: int, /) -> bytes:
        """Return the bytes that the token stands for: none for a control token."""

    def token_text(self, token_id: int, /) -> str:
        """Return a printable form of any token: a control token as ``<|im_end|>``."""


class Detokenizer:
    """The text of one run of bytes; malformed UTF-8 becomes U+FFFD as in ``bytes.decode("utf-8", "replace")``."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    def push(self, data: bytes) -> str:
        """Return the characters that ``data`` completes."""
        data = self._held + data
        text, used = utf_8_decode(data, "replace", False)  # noqa: FBT003 (it takes no keywords)
        self._held = data[used:]
        return text

    def flush(self) -> str:
        """End the run: an incomplete character comes out as U+FFFD. The next push starts a new run."""
        held, self._held = self._held, b""
        return held.decode("utf-8", "replace")

    @property
    def pending(self) -> int:
        """Bytes pushed that are not in any text yet: the start of a character, at most 3."""
        return len(self._held)
