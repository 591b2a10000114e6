"""Tries grammars with the vocabulary in a process that a costly grammar may crash.

Reading a grammar finds its mistakes; its cost shows only with the vocabulary: a multiple of 99,999,989 needs an
automaton of as many states, which takes gigabytes. So the trial compiles the grammar, accepts the tokens that it forces
first, and computes the mask of the next token.
"""

from functools import cached_property, lru_cache
from typing import Final

import llguidance

from antiphon.engine.grammars.grammar_limits import MAX_GRAMMAR_TEXT, limits
from antiphon.engine.models.tokenizer import Tokenizer

KEPT_RESULTS: Final = 64
MAX_KEPT_SIZE: Final = 256 * 1024
"""Characters of a grammar up to which its result is kept."""


class GrammarTrial:
    """Tries grammars with one vocabulary. A trial may end its process: run it only where that costs one request."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Hold the vocabulary; :meth:`prepare` or the first grammar prepares it."""
        self._vocabulary = tokenizer
        self._kept = lru_cache(KEPT_RESULTS)(self._problem)

    def prepare(self) -> None:
        """Prepare the vocabulary, which takes about 0.2 s."""
        _ = self._tokenizer

    @cached_property
    def _tokenizer(self) -> llguidance.LLTokenizer:
        return self._vocabulary.grammar_tokenizer()

    def problem(self, grammar: str) -> str:
        """Return the reason why the engine cannot follow the grammar; the empty text without one."""
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
