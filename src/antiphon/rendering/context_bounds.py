"""The bounds of a prompt by the context of a model, in tokens, bytes and characters."""

from typing import Final

from msgspec import Struct

from antiphon.errors import InvalidRequestError

MAX_CHARACTERS_PER_TOKEN: Final = 256
"""No text has fewer tokens than its characters by this; longer ones are refused before they are rendered."""


class ContextBounds(Struct, frozen=True):
    """The bounds of one context. Every method raises InvalidRequestError with the code ``context_length_exceeded``."""

    max_model_len: int
    """Tokens of prompt and answer together."""
    longest_token: int
    """Bytes of the longest token's text, or more."""

    @property
    def max_characters(self) -> int:
        """Characters of messages and tools together."""
        return self.max_model_len * MAX_CHARACTERS_PER_TOKEN

    @property
    def max_bytes(self) -> int:
        """Bytes of a prompt or an answer."""
        return self.max_model_len * self.longest_token

    def check_size(self, size: int, limit: int, unit: str) -> None:
        """Refuse what cannot fit before any work that grows with it."""
        if size > limit:
            raise InvalidRequestError(
                f"This model's maximum context length is {self.max_model_len} tokens. However, your request has "
                f"{size} {unit}. Please reduce the length of the messages.",
                param="messages",
                code="context_length_exceeded",
            )

    def check_bytes(self, text: str) -> None:
        """Refuse a prompt that has too many tokens by its length alone: tokenizing takes longer than in proportion."""
        size = len(text.encode())
        if size > self.max_bytes:
            least = -(-size // self.longest_token)
            raise InvalidRequestError(
                f"This model's maximum context length is {self.max_model_len} tokens. However, your messages resulted "
                f"in {size} bytes, which are at least {least} tokens. Please reduce the length of the messages.",
                param="messages",
                code="context_length_exceeded",
            )

    def check_length(self, length: int) -> None:
        """Refuse an empty prompt, and one that leaves no room for a token."""
        if length == 0:
            raise InvalidRequestError("The messages give an empty prompt with this model.", param="messages")
        if length > self.max_model_len - 1:
            raise InvalidRequestError(
                f"This model's maximum context length is {self.max_model_len} tokens. However, your messages resulted "
                f"in {length} tokens. Please reduce the length of the messages.",
                param="messages",
                code="context_length_exceeded",
            )
