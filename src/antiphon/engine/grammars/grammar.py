"""Constrained decoding with llguidance: which tokens may come next, and which must.

Compiling runs in threads of its own and drops the GIL, so that a large grammar never stalls a step; what was compiled
is kept by its text and copied for each choice. The vocabulary's side (about 0.4 s) is prepared in such a thread when
the first grammar comes, or soon after the start: not at once, because the first answer would wait for it.
"""

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event, Lock
from typing import Any, Final, Self

import llguidance
import numpy as np
import numpy.typing as npt

from antiphon.engine.grammars.grammar_limits import LONG_GRAMMAR, MAX_GRAMMAR_TEXT, limits

MAX_CACHED_GRAMMARS: Final = 128
COMPILERS: Final = 2
"""Grammars that are compiled at the same time, so that a slow one does not hold all others."""
PREPARE_AFTER: Final = 2.0
"""Seconds from the start, in which no grammar has come, until the vocabulary's side is prepared."""
SLOW: Final = 0.01
"""Seconds of processor time of one piece of work from which a grammar is slow: a step never waits for its work."""
COST_DECAY: Final = 0.9
"""Factor by which each piece of work lowers the cost of the earlier ones."""


class GrammarError(Exception):
    """The grammar cannot be compiled, or has grown too complex while it was followed."""


class GrammarCost:
    """How costly the latest work on a compiled grammar was, and the lock of its lexer, which all its matchers share.

    The library waits for a lexer in use while it holds the interpreter's lock: nobody may ask for one without ``lock``.
    """

    __slots__ = ("_seconds", "is_long", "lock")

    def __init__(self, *, is_long: bool = False) -> None:
        self.lock: Final = Lock()
        self.is_long: Final = is_long
        """Whether the text is so long that finding out what it forces may take long."""
        self._seconds = 0.0

    @property
    def is_slow(self) -> bool:
        """Whether a step must not wait for this grammar's work."""
        return self._seconds > SLOW

    def observe(self, seconds: float) -> None:
        """Learn the processor time of one piece of work."""
        self._seconds = max(seconds, COST_DECAY * self._seconds)


class Matcher:
    """Where one choice stands in its grammar. Used under the lock of its cost, see :class:`GrammarCost`."""

    __slots__ = ("_matcher", "cost")

    def __init__(self, matcher: llguidance.LLMatcher, cost: GrammarCost | None = None) -> None:
        self._matcher = matcher
        self.cost: Final = cost or GrammarCost()

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
        """An independent matcher at the same place. Needs no lock as long as this one is only copied."""
        return type(self)(self._matcher.deep_copy(), self.cost)

    def _check(self) -> None:
        if self._matcher.is_error():
            raise GrammarError(self._matcher.get_error())


class GrammarCompiler:
    """Compiles grammars for one vocabulary, :data:`COMPILERS` at a time, and begins in order."""

    def __init__(self, tokenizer: Callable[[], Any]) -> None:
        """``tokenizer`` makes the ``llguidance.LLTokenizer``; it is called once, in a compiling thread."""
        self._pool = ThreadPoolExecutor(COMPILERS, "grammar")
        self._make_tokenizer = tokenizer
        self._tokenizer: Future[Any] | None = None
        self._awaited = Event()
        """Set when a grammar waits for the vocabulary's side, or when the compiler closes."""
        self._closed = False
        self._lock = Lock()
        self._compiled: OrderedDict[str, Future[Matcher]] = OrderedDict()
        """By text; a request for a text that is being compiled waits for it. Guarded by ``_lock``."""

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
        return self._pool.submit(self._copy_of, grammar, self.prepare())

    def forget(self, grammar: str) -> None:
        """Compile a text anew when it comes again: its lexer, which all its matchers share, has failed."""
        with self._lock:
            self._compiled.pop(grammar, None)

    def close(self) -> None:
        """Wait for the grammars at hand, forget those that wait."""
        self._closed = True
        self._awaited.set()
        self._pool.shutdown(cancel_futures=True)

    def _copy_of(self, grammar: str, tokenizer: "Future[Any]") -> Matcher:
        with self._lock:
            known = self._compiled.get(grammar)
            made: Future[Matcher] = known or Future()
            self._compiled[grammar] = made
            self._compiled.move_to_end(grammar)
            if len(self._compiled) > MAX_CACHED_GRAMMARS:
                self._compiled.popitem(last=False)
        if known is None:
            try:
                made.set_result(self._compile(grammar, tokenizer))
            except BaseException as error:
                self.forget(grammar)
                made.set_exception(error)
                raise
        return made.result().copy()

    @staticmethod
    def _compile(grammar: str, tokenizer: "Future[Any]") -> Matcher:
        if len(grammar) > MAX_GRAMMAR_TEXT:
            raise GrammarError(f"The grammar has {len(grammar)} characters, more than {MAX_GRAMMAR_TEXT}.")
        compiled = llguidance.LLMatcher(tokenizer.result(), grammar, log_level=0, limits=limits())
        if compiled.is_error():
            raise GrammarError(compiled.get_error())
        return Matcher(compiled, GrammarCost(is_long=len(grammar) > LONG_GRAMMAR))
