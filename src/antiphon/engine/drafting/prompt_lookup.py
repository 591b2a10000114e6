"""Draft tokens out of the conversation itself: what followed the newest tokens where they stood before.

Prompt lookup decoding (Saxena 2023): answers repeat names, code and quotations of their prompts, and themselves. Pure:
token ids in, token ids out. A lookup costs the same however long the conversation is.
"""

from typing import Final

from antiphon.engine.drafting.draft_length import AcceptanceRate

GRAM: Final = 3
"""Newest tokens that are looked up."""
TRY_AGAIN: Final = 128
"""Tokens after which a lookup that was not worth it is tried with a single token."""

Gram = tuple[int, int, int]


def index_of(prompt: list[int]) -> dict[Gram, int]:
    """Where each run of :data:`GRAM` tokens ends last in a prompt, its very end left out: nothing follows it yet."""
    return dict(zip(zip(prompt, prompt[1:], prompt[2:-1], strict=False), range(GRAM, len(prompt)), strict=False))


class PromptLookup:
    """Looks up what may follow in one answer. The index of the prompt is shared by all choices of a request."""

    def __init__(self, prompt_index: dict[Gram, int], first_guess: float) -> None:
        """``first_guess`` is the acceptance rate that the first draft is judged by."""
        self._prompt_index: Final = prompt_index
        self._index: dict[Gram, int] = {}
        self._since_draft = 0
        self.rate: Final = AcceptanceRate(first_guess)

    def observe(self, tokens: list[int], n: int) -> None:
        """Take note of the ``n`` newest of all tokens, prompt included."""
        self._since_draft += n
        for end in range(max(GRAM, len(tokens) - n), len(tokens)):
            self._index[tokens[end - 3], tokens[end - 2], tokens[end - 1]] = end

    def draft(self, tokens: list[int], worth: int) -> list[int]:
        """Give up to ``worth`` tokens that followed the newest ones before; one when it was not worth it for long."""
        length = worth or int(self._since_draft >= TRY_AGAIN)
        if not length or len(tokens) < GRAM:
            return []
        gram = (tokens[-3], tokens[-2], tokens[-1])
        place = self._index.get(gram) or self._prompt_index.get(gram)
        if place is None:
            return []
        self._since_draft = 0
        return tokens[place : place + length]
