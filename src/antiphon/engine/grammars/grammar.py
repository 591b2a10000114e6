"""Constrained decoding with llguidance: the tokens that may come next, and the tokens that must.

Grammars are compiled in their own threads without the GIL, so that a large grammar never stalls a step. Compiled
grammars are cached by their text and copied for each choice. A compiling thread prepares the vocabulary (about 0.4 s)
for the first grammar, or soon after the start: at once it would delay the first answer.
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
"""Grammars that are compiled at the same time, so that a slow one does not block all others."""
PREPARE_AFTER: Final = 2.0
"""Seconds after the start in which only a grammar triggers the preparation of the vocabulary."""
SLOW: Final = 0.01
"""Processor seconds of one piece of work above which a grammar is slow. A step never waits for a slow grammar."""
COST_DECAY: Final = 0.9
"""Factor by which each piece of work lowers the cost of the earlier pieces."""


class GrammarError(Exception):
    """A grammar that cannot be compiled, or that exceeds a limit while an answer follows it."""


class GrammarCost:
    """The cost of the latest work on a compiled grammar, and the lock of the lexer that all its matchers share.

    The library waits for a lexer in use while it holds the interpreter's lock: every use of a matcher needs ``lock``.
    """

    __slots__ = ("_seconds", "is_long", "lock")

    def __init__(self, *, is_long: bool = False) -> None:
        self.lock: Final = Lock()
        self.is_long: Final = is_long
        """Whether the text is so long that the search for forced tokens may take long."""
        self._seconds = 0.0

    @property
    def is_slow(self) -> bool:
        """Whether a step must not wait for work on this grammar."""
        return self._seconds > SLOW

    def observe(self, seconds: float) -> None:
        """Record the processor time of one piece of work, in seconds."""
        self._seconds = max(seconds, COST_DECAY * self._seconds)


class Matcher:
    """The state of one choice in its grammar. Every use needs the lock of its ``cost``, see :class:`GrammarCost`."""

    __slots__ = ("_matcher", "cost")

    def __init__(self, matcher: llguidance.LLMatcher, cost: GrammarCost | None = None) -> None:
        self._matcher = matcher
        self.cost: Final = cost or GrammarCost()

    @property
    def finished(self) -> bool:
        """Whether only the end may follow."""
        return self._matcher.is_stopped()

    def allowed(self, n_vocab: int) -> npt.NDArray[np.bool_]:
        """Return the mask of the tokens that may come next, shape (n_vocab,). Raises :class:`GrammarError`."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        self._check()
        return np.unpackbits(bits, count=n_vocab, bitorder="little").view(np.bool_)

    def count_allowed(self, token_ids: list[int]) -> int:
        """Return the number of tokens, from the first on, that the grammar allows in sequence."""
        return self._matcher.validate_tokens(token_ids)

    def forced(self) -> list[int]:
        """Return the next tokens that the grammar determines, in the vocabulary's canonical tokenization."""
        return self._matcher.compute_ff_tokens()

    def accept(self, token_ids: list[int]) -> None:
        """Advance by allowed tokens. Raises :class:`GrammarError`."""
        self._matcher.consume_tokens(token_ids)
        self._check()

    def copy(self) -> Self:
        """Return an independent matcher in the same state. A matcher that is only ever copied needs no lock."""
        return type(self)(self._matcher.deep_copy(), self.cost)

    def _check(self) -> None:
        if self._matcher.is_error():
            raise GrammarError(self._matcher.get_error())


class GrammarCompiler:
    """Compiles grammars for one vocabulary in the order of their arrival, :data:`COMPILERS` at a time."""

    def __init__(self, tokenizer: Callable[[], Any]) -> None:
        """Make a compiler. ``tokenizer`` makes the ``llguidance.LLTokenizer``, once, in a compiling thread."""
        self._pool = ThreadPoolExecutor(COMPILERS, "grammar")
        self._make_tokenizer = tokenizer
        self._tokenizer: Future[Any] | None = None
        self._awaited = Event()
        """Set when a grammar waits for the vocabulary, or when the compiler closes."""
        self._closed = False
        self._lock = Lock()
        self._compiled: OrderedDict[str, Future[Matcher]] = OrderedDict()
        """Compiled grammars by text, also those that are being compiled. Guarded by ``_lock``."""

    def prepare(self) -> "Future[Any]":
        """Schedule the preparation of the vocabulary; return its future."""
        if self._tokenizer is None:
            self._tokenizer = self._pool.submit(self._prepare)
        return self._tokenizer

    def _prepare(self) -> Any:  # noqa: ANN401 (llguidance.LLTokenizer)
        self._awaited.wait(PREPARE_AFTER)
        return None if self._closed else self._make_tokenizer()

    def compile(self, grammar: str) -> "Future[Matcher]":
        """Start to compile; return the future of a matcher at the grammar's start, or of :class:`GrammarError`."""
        self._awaited.set()
        return self._pool.submit(self._copy_of, grammar, self.prepare())

    def forget(self, grammar: str) -> None:
        """Drop a compiled grammar: the lexer that all its matchers share has failed."""
        with self._lock:
            self._compiled.pop(grammar, None)

    def close(self) -> None:
        """Wait for the grammars that are being compiled, and drop the queued ones."""
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
