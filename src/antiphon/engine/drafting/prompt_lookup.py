"""Drafts the tokens that followed an earlier occurrence of the newest tokens in the conversation.

Prompt lookup decoding (Saxena 2023): answers repeat names, code and quotations of their prompts, and themselves. This
module is pure: token ids in, token ids out. The cost of a lookup does not depend on the length of the conversation.
"""

from itertools import takewhile
from typing import Final

from antiphon.engine.drafting.draft_length import AcceptanceRate

GRAM: Final = 3
"""Newest tokens that are looked up."""
RETRY_TOKENS: Final = 128
"""Tokens without a draft after which a single token is drafted, to measure the acceptance rate again."""

Gram = tuple[int, int, int]


def index_prompt(prompt: list[int]) -> dict[Gram, int]:
    """Return the last end of each run of :data:`GRAM` tokens, but for the run at the very end of the prompt."""
    return dict(zip(zip(prompt, prompt[1:], prompt[2:-1], strict=False), range(GRAM, len(prompt)), strict=False))


class PromptLookup:
    """Looks up drafts for one answer. All choices of a request share the index of the prompt."""

    def __init__(self, prompt_index: dict[Gram, int], initial_rate: float) -> None:
        """Start a lookup. ``initial_rate`` is the acceptance rate before the first report."""
        self._prompt_index: Final = prompt_index
        self._index: dict[Gram, int] = {}
        self._since_draft = 0
        self.rate: Final = AcceptanceRate(initial_rate)

    def observe(self, tokens: list[int], n: int) -> None:
        """Index the ``n`` newest tokens. ``tokens`` are all tokens, prompt included."""
        self._since_draft += n
        for end in range(max(GRAM, len(tokens) - n), len(tokens)):
            self._index[tokens[end - 3], tokens[end - 2], tokens[end - 1]] = end

    def draft(self, tokens: list[int], worth: int) -> list[int]:
        """Return up to ``worth`` tokens that followed an earlier occurrence of the newest tokens.

        With 0 it returns one token every :data:`RETRY_TOKENS` tokens. A draft ends before media.
        """
        length = worth or int(self._since_draft >= RETRY_TOKENS)
        if not length or len(tokens) < GRAM:
            return []
        gram = (tokens[-3], tokens[-2], tokens[-1])
        place = self._index.get(gram) or self._prompt_index.get(gram)
        if place is None:
            return []
        self._since_draft = 0
        found = tokens[place : place + length]
        return found if min(found) >= 0 else list(takewhile(_is_token, found))


def _is_token(key: int) -> bool:
    """Return whether a key is that of a token: rows of media have negative keys."""
    return key >= 0
