"""Tries grammars out as the engine will follow them, where a grammar that costs too much harms nobody.

Reading a grammar shows mistakes. What following it costs shows only with the vocabulary: a multiple of 99,999,989 needs
an automaton of as many states, which takes gigabytes. So the trial compiles the grammar, tokenizes the text that it
begins with, and finds the tokens that may come next.
"""

from functools import lru_cache
from typing import Final

import llguidance

from antiphon.engine.grammars.grammar_limits import MAX_GRAMMAR_TEXT, limits
from antiphon.engine.models.tokenizer import Tokenizer

KEPT_RESULTS: Final = 64
MAX_KEPT_SIZE: Final = 256 * 1024
"""Characters of a grammar whose result is kept."""


class GrammarTrial:
    """Tries grammars with one vocabulary. Call it only where a crash costs one request."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Prepare the vocabulary, which takes about 0.2 s."""
        self._tokenizer = tokenizer.grammar_tokenizer()
        self._kept = lru_cache(KEPT_RESULTS)(self._problem)

    def problem(self, grammar: str) -> str:
        """Return what keeps the engine from following the grammar; the empty text when nothing does."""
        return (self._kept if len(grammar) <= MAX_KEPT_SIZE else self._problem)(grammar)

    def _problem(self, grammar: str) -> str:
        if len(grammar) > MAX_GRAMMAR_TEXT:
            return f"the grammar exceeds the limit of {MAX_GRAMMAR_TEXT} characters."
        matcher = llguidance.LLMatcher(self._tokenizer, grammar, log_level=0, limits=limits())
        if not matcher.is_error():
            forced = matcher.compute_ff_tokens()
            matcher.consume_tokens(forced)
        if not matcher.is_error() and not matcher.is_stopped():
            matcher.compute_bitmask()
        return matcher.get_error() if matcher.is_error() else ""
