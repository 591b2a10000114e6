"""Constrained decoding with llguidance: which tokens may come next, and which must.

Compiling runs in a thread of its own and drops the GIL, so that a large grammar never stalls a step; what was compiled
is kept by its text and copied for each choice. The vocabulary's side (about 0.4 s) is prepared in that thread when the
first grammar comes, or soon after the start: not at once, because the first answer would wait for it.
"""

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import Any, Final, Self

import llguidance
import numpy as np
import numpy.typing as npt

from antiphon.engine.grammar_limits import MAX_GRAMMAR_TEXT, limits

MAX_CACHED_GRAMMARS: Final = 128
PREPARE_AFTER: Final = 2.0
"""Seconds from the start, in which no grammar has come, until the vocabulary's side is prepared."""


class GrammarError(Exception):
    """The grammar cannot be compiled, or has grown too complex while it was followed."""


class Matcher:
    """Where one choice stands in its grammar."""

    __slots__ = ("_matcher",)

    def __init__(self, matcher: llguidance.LLMatcher) -> None:
        self._matcher = matcher

    @property
    def finished(self) -> bool:
        """Whether nothing but the end may follow."""
        return self._matcher.is_stopped()

    def allowed(self, n_vocab: int) -> npt.NDArray[np.bool_]:
        """Tokens that may come next, shape (n_vocab,). Raises :class:`GrammarError`."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        self._check()
        return np.unpackbits(bits, count=n_vocab, bitorder="little").view(np.bool_)

    def count_allowed(self, token_ids: list[int]) -> int:
        """How many of these tokens, from the first on, the grammar admits one after the other."""
        return self._matcher.validate_tokens(token_ids)

    def forced(self) -> list[int]:
        """Tokens that the grammar determines from here on, in the vocabulary's canonical tokenization."""
        return self._matcher.compute_ff_tokens()

    def accept(self, token_ids: list[int]) -> None:
        """Go on by tokens that the grammar allows. Raises :class:`GrammarError`."""
        self._matcher.consume_tokens(token_ids)
        self._check()

    def copy(self) -> Self:
        """An independent matcher at the same place."""
        return type(self)(self._matcher.deep_copy())

    def _check(self) -> None:
        if self._matcher.is_error():
            raise GrammarError(self._matcher.get_error())


class GrammarCompiler:
    """Compiles grammars for one vocabulary, one at a time, in order."""

    def __init__(self, tokenizer: Callable[[], Any]) -> None:
        """``tokenizer`` makes the ``llguidance.LLTokenizer``; it is called once, in the compiling thread."""
        self._pool = ThreadPoolExecutor(1, "grammar")
        self._make_tokenizer = tokenizer
        self._tokenizer: Future[Any] | None = None
        self._awaited = Event()
        """Set when somebody waits for the vocabulary's side, or nobody will."""
        self._closed = False
        self._compiled: OrderedDict[str, Matcher] = OrderedDict()

    def prepare(self) -> "Future[Any]":
        """Start on the vocabulary's side soon, so that the first grammar need not wait for it."""
        if self._tokenizer is None:
            self._tokenizer = self._pool.submit(self._prepare)
        return self._tokenizer

    def _prepare(self) -> Any:  # noqa: ANN401 (llguidance.LLTokenizer)
        self._awaited.wait(PREPARE_AFTER)
        return None if self._closed else self._make_tokenizer()

    def compile(self, grammar: str) -> "Future[Matcher]":
        """Start compiling; the future gives a matcher at the grammar's start, or :class:`GrammarError`."""
        self._awaited.set()
        return self._pool.submit(self._compile, grammar, self.prepare())

    def close(self) -> None:
        """Wait for the grammar at hand, forget those that wait."""
        self._closed = True
        self._awaited.set()
        self._pool.shutdown(cancel_futures=True)

    def _compile(self, grammar: str, tokenizer: "Future[Any]") -> Matcher:
        known = self._compiled.get(grammar)
        if known is None:
            if len(grammar) > MAX_GRAMMAR_TEXT:
                raise GrammarError(f"The grammar has {len(grammar)} characters, more than {MAX_GRAMMAR_TEXT}.")
            compiled = llguidance.LLMatcher(tokenizer.result(), grammar, log_level=0, limits=limits())
            if compiled.is_error():
                raise GrammarError(compiled.get_error())
            known = self._compiled[grammar] = Matcher(compiled)
        self._compiled.move_to_end(grammar)
        if len(self._compiled) > MAX_CACHED_GRAMMARS:
            self._compiled.popitem(last=False)
        return known.copy()
