"""Decodes the bytes of tokens incrementally; a character that spans tokens is returned once, when it is complete.

Invariant: the concatenated results of ``push`` and the final ``flush`` are ``bytes.decode("utf-8", "replace")`` of all
bytes, for any split of them. The cost of a push does not depend on earlier bytes.
"""

from codecs import utf_8_decode
from typing import Protocol


class Vocabulary(Protocol):
    """The part of a tokenizer that the assembly uses."""

    def token_bytes(self, token_id: int, /) -> bytes:
        """Return the token's bytes, empty for a control token."""

    def token_text(self, token_id: int, /) -> str:
        """Return a printable form of any token, e.g. ``<|im_end|>`` for a control token."""


class Detokenizer:
    """Decodes one run of bytes; malformed UTF-8 becomes U+FFFD as in ``bytes.decode("utf-8", "replace")``."""

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
        """End the run and return U+FFFD for an incomplete character. The next push starts a new run."""
        held, self._held = self._held, b""
        return held.decode("utf-8", "replace")

    @property
    def pending(self) -> int:
        """Bytes of the incomplete character at the end, at most 3."""
        return len(self._held)
