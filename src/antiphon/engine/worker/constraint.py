"""The grammar of one choice, followed beside the steps: what may come next is found out while the model decodes.

A step waits for quick work alone. Where a grammar's latest work was slow, its choices draw no next token until their
masks are there, and no other choice waits for that. The work on an answer is bounded, in processor time: an answer that
needs more ends with an error, and so does one whose grammar breaks the library's own limits.
"""

from collections.abc import Callable, Collection, Iterable
from typing import Final

import numpy as np
import numpy.typing as npt

from antiphon.engine.grammars.grammar import GrammarError, Matcher
from antiphon.engine.grammars.mask_threads import MaskThreads
from antiphon.engine.interface import TokenLogprobs
from antiphon.engine.sampling.sampling_state import Floats
from antiphon.engine.sequence import Sequence

PATIENCE: Final = 0.01
"""Seconds that a step waits for quick work: a quick grammar's is over before, where a core is free."""
ANSWER_SECONDS: Final = 5.0
TOKEN_SECONDS: Final = 0.01
"""Processor time that an answer's grammar may take, at the start and more with each token. Real schemas take 0.0004 s
a token at most, and the most ambiguous grammars within the library's limits some 0.03 s."""
FIRST_CHECKED: Final = 4
"""Tokens of a draft that are checked at once, and twice as many then: hostile grammars cost up to its length cubed."""
DRAFT_SECONDS: Final = 0.002
"""Processor time of one such check after which no more of the draft is checked, nor tried."""


class Constraint:
    """One choice's grammar, and the work on it, which is done in order. A ``TokenFilter`` of its sampling.

    ``pending`` while a thread has work on it to do: then only that thread touches anything else in it.
    """

    def __init__(self, matcher: Matcher, threads: MaskThreads, n_vocab: int, eog_ids: frozenset[int]) -> None:
        self.pending = False
        self.gained: list[int] = []
        """The token that :meth:`accept` was given, and those that the grammar forces after it."""
        self.logprobs: TokenLogprobs | None = None
        """Of that token."""
        self.finished = False
        """Whether nothing but the end may follow the tokens gained."""
        self._matcher: Final = matcher
        self._cost: Final = matcher.cost
        self._threads: Final = threads
        self._n_vocab: Final = n_vocab
        self._eog_ids: Final = eog_ids
        self._mask: npt.NDArray[np.bool_] | None = None
        self._error: BaseException | None = None
        self._cancelled = False
        self._seconds = 0.0
        self._tokens = 0

    def allowed(self, n_vocab: int) -> npt.NDArray[np.bool_]:
        """Give the mask of the next token, which must have been made. Raises :class:`GrammarError`."""
        self.check()
        assert self._mask is not None
        assert self._mask.size == n_vocab
        return self._mask

    def check(self) -> None:
        """Raise what the work on the grammar has raised: :class:`GrammarError`, or any other for a broken library."""
        assert not self.pending
        if self._error is not None:
            raise self._error

    def start_mask(self) -> None:
        """Begin to make the next token's mask, unless that has begun."""
        if not self.pending and self._mask is None and self._error is None:
            self._submit(self._make_mask)

    def has_mask(self, patience: float) -> bool:
        """Whether the next token may be drawn; waits up to ``patience`` seconds for that, if the grammar is quick."""
        if not self.pending and self._mask is None and self._error is None:
            self._do(self._make_mask)
        return self.is_idle(patience)

    def is_idle(self, patience: float) -> bool:
        """Whether no work is pending; waits up to ``patience`` seconds for that, if the grammar is quick."""
        return not self.pending or self._threads.wait(lambda: not self.pending, 0.0 if self._cost.is_slow else patience)

    def accept(self, token_id: int, logprobs: TokenLogprobs | None, room: int) -> None:
        """Go on by a token, and by up to ``room`` that the grammar forces after it: see ``gained`` once it is idle."""
        self._mask, self.gained, self.logprobs = None, [token_id], logprobs
        self._do(lambda: self._follow(token_id, room))

    def count_allowed(self, draft: list[int]) -> int:
        """How many tokens of a draft may come and are worth trying; none while that would take long to find out."""
        if self.pending or self._error is not None or self._cost.is_slow or not self._cost.lock.acquire(blocking=False):
            return 0
        try:
            return self._count(draft)
        finally:
            self._cost.lock.release()

    def cancel(self) -> None:
        """Do none of the work that has not begun; drop the result of the work at hand."""
        self._cancelled = True

    def _do(self, work: Callable[[], None]) -> None:
        """Do work at once where that is quick, else in a thread."""
        cost = self._cost
        if cost.is_slow or cost.is_long or not cost.lock.acquire(timeout=PATIENCE):
            self._submit(work)
            return
        try:
            self._attempt(work)
        finally:
            cost.lock.release()

    def _submit(self, work: Callable[[], None]) -> None:
        self.pending = True
        self._queue(work, slow=self._cost.is_slow)

    def _queue(self, work: Callable[[], None], *, slow: bool) -> None:
        self._threads.submit(lambda: self._run(work, slow=slow), slow=slow)

    def _run(self, work: Callable[[], None], *, slow: bool) -> None:
        """Do work in a thread; a grammar that has become slow meanwhile leaves the thread for quick work."""
        if not self._cancelled:
            if self._cost.is_slow and not slow:
                self._queue(work, slow=True)
                return
            with self._cost.lock:
                self._attempt(work)
        self._threads.end(self._rest)

    def _rest(self) -> None:
        self.pending = False

    def _attempt(self, work: Callable[[], None]) -> None:
        """Do work, and keep what it raises for :meth:`check`, in the step that needs it."""
        try:
            self._timed(work)
        except BaseException as error:  # noqa: BLE001 - raised again by check()
            self._error = error
        allowance = ANSWER_SECONDS + TOKEN_SECONDS * self._tokens
        if self._error is None and self._seconds > allowance:
            self._error = GrammarError(_too_costly(self._seconds, self._tokens, allowance))

    def _timed(self, work: Callable[[], None]) -> float:
        """Do work; count and return the seconds of processor time that it took."""
        began = self._threads.thread_time()
        try:
            work()
        finally:
            seconds = self._threads.thread_time() - began
            self._seconds += seconds
            self._cost.observe(seconds)
        return seconds

    def _make_mask(self) -> None:
        self._mask = self._matcher.allowed(self._n_vocab)

    def _follow(self, token_id: int, room: int) -> None:
        matcher, mask = self._matcher, None
        matcher.accept([token_id])
        self._tokens += 1
        if self._cost.is_slow or self._cost.is_long:
            # Finds out what is forced, too, and does so without the interpreter's lock.
            try:
                mask = matcher.allowed(self._n_vocab)
            except GrammarError:  # of the next mask, whose making raises it again: this token has been accepted
                return
        forced = matcher.forced()[:room] if room else []
        end = next((at for at, token in enumerate(forced) if token in self._eog_ids), len(forced))
        matcher.accept(forced[:end])
        self._tokens += end
        self.gained += forced[:end]
        self.finished, self._mask = matcher.finished, None if end else mask

    def _count(self, draft: list[int]) -> int:
        count, length = 0, FIRST_CHECKED
        while count < len(draft):
            checked: list[int] = []
            seconds = self._timed(lambda: checked.append(self._matcher.count_allowed(draft[:length])))  # noqa: B023
            count = checked[0]
            if count < length or seconds > DRAFT_SECONDS:
                return count
            length *= 2
        return count


class Constraints:
    """The constraints of all choices that have one, and the choices that are held until work on theirs has ended."""

    def __init__(self, n_vocab: int, eog_ids: frozenset[int], threads: MaskThreads | None = None) -> None:
        self._n_vocab: Final = n_vocab
        self._eog_ids: Final = eog_ids
        self._threads: Final = threads or MaskThreads()
        self._constraints: dict[Sequence, Constraint] = {}
        self._held: dict[Sequence, Floats | None] = {}
        """By choice: the logits of its next token, or None when that is drawn and the grammar follows it."""
        self._patience = PATIENCE
        """Seconds that the step at hand may still wait for quick work."""

    def add(self, sequence: Sequence, constraint: Constraint) -> None:
        """Follow a choice."""
        self._constraints[sequence] = constraint

    def make(self, matcher: Matcher) -> Constraint:
        """Make a constraint that begins where a matcher is."""
        return Constraint(matcher.copy(), self._threads, self._n_vocab, self._eog_ids)

    def get(self, sequence: Sequence) -> Constraint | None:
        """Give a choice's constraint, if it has one."""
        return self._constraints.get(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Forget a choice, held or not; the result of work that has begun on its grammar is dropped."""
        self._held.pop(sequence, None)
        constraint = self._constraints.pop(sequence, None)
        if constraint is not None:
            constraint.cancel()

    def begin_step(self) -> None:
        """Let the step that begins wait for quick work again."""
        self._patience = PATIENCE

    def start_masks(self, sequences: Iterable[Sequence]) -> None:
        """Begin to make the masks of the next tokens of those that have constraints."""
        for sequence in sequences:
            if sequence in self._constraints:
                self._constraints[sequence].start_mask()

    def has_ended(self, wait: Callable[[float], bool]) -> bool:
        """Whether quick work has ended: ``wait`` may take all that is left of the step's patience."""
        ended = wait(self._patience)
        if not ended:
            self._patience = 0.0
        return ended

    def hold(self, sequence: Sequence, logits: Floats | None) -> None:
        """Let a choice wait for work on its grammar, the row of logits kept if its next token is to be drawn yet."""
        sequence.is_held = True
        self._held[sequence] = None if logits is None else logits.copy()

    def resume(self) -> list[tuple[Sequence, Floats | None]]:
        """Take out the held choices for which the work has ended, with their logits as they were held."""
        ended = [(held, logits) for held, logits in self._held.items() if not self._constraints[held].pending]
        for sequence, _ in ended:
            sequence.is_held = False
            del self._held[sequence]
        return ended

    def wait(self, timeout: float) -> bool:
        """Wait until a held choice can be resumed, ``timeout`` seconds at most; False when none is held."""
        if self._held:
            self._threads.wait(lambda: any(not self._constraints[held].pending for held in self._held), timeout)
        return bool(self._held)

    def check(self, sequences: Collection[Sequence]) -> None:
        """Assert what must hold of the sequences that the engine has."""
        assert self._constraints.keys() <= set(sequences)
        assert self._held.keys() == {sequence for sequence in sequences if sequence.is_held}
        assert all(held.lease is None or held.num_uncomputed_tokens == 0 for held in self._held)

    def close(self) -> bool:
        """End the threads; False when one is at work that does not end, and may read the vocabulary."""
        for constraint in self._constraints.values():
            constraint.cancel()
        return self._threads.close()


def _too_costly(seconds: float, tokens: int, allowance: float) -> str:
    return (
        f"it took {seconds:.1f} seconds of processor time for {tokens} tokens, more than {allowance:.1f}; "
        "a grammar with less choice at each place costs less"
    )
