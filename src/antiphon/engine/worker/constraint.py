"""The grammars of the choices, whose masks are computed while the model decodes.

A step waits for quick work only. After slow work on a grammar, its choices are held until their masks are ready, and no
other choice waits. The work on an answer is limited in processor time: beyond it, or beyond the limits of llguidance,
the answer ends with an error.
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

STEP_WAIT: Final = 0.01
"""Seconds that a step waits for quick work, which ends sooner when a processor core is free."""
ANSWER_SECONDS: Final = 5.0
TOKEN_SECONDS: Final = 0.01
"""Seconds of processor time for an answer's grammar: at the start, and more for each token. Schemas in use take at most
0.0004 s a token, and the most ambiguous grammars within llguidance's limits about 0.03 s."""
FIRST_CHECKED: Final = 4
"""Tokens of a draft in its first check; each further one has twice as many. Hostile grammars cost their cube."""
DRAFT_SECONDS: Final = 0.002
"""Seconds of processor time of one check after which the rest of the draft is dropped."""


class Constraint:
    """The grammar of one choice, and the work on it, in order. It is the ``TokenFilter`` of the choice's sampling.

    While ``is_pending``, a thread has work on the grammar, and only that thread uses the other attributes.
    """

    def __init__(self, matcher: Matcher, threads: MaskThreads, n_vocab: int, eog_ids: frozenset[int]) -> None:
        self.is_pending = False
        self.gained: list[int] = []
        """The last accepted token, and the tokens that the grammar forces after it."""
        self.logprobs: TokenLogprobs | None = None
        """The logprobs of the accepted token."""
        self.is_finished = False
        """Whether the grammar allows only the end after the gained tokens."""
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
        """Return the mask of the next token, which has been made. Raises :class:`GrammarError`."""
        self.check()
        assert self._mask is not None
        assert self._mask.size == n_vocab
        return self._mask

    def check(self) -> None:
        """Raise the error of the work on the grammar: :class:`GrammarError`, or any other from a broken library."""
        assert not self.is_pending
        if self._error is not None:
            raise self._error

    def start_mask(self) -> None:
        """Start to make the next token's mask, unless it is made or being made."""
        if not self.is_pending and self._mask is None and self._error is None:
            self._submit(self._make_mask)

    def wait_for_mask(self, timeout: float) -> bool:
        """Make the next token's mask, and wait ``timeout`` seconds if that is quick; return whether it is ready."""
        if not self.is_pending and self._mask is None and self._error is None:
            self._do_or_submit(self._make_mask)
        return self.wait_until_idle(timeout)

    def wait_until_idle(self, timeout: float) -> bool:
        """Wait ``timeout`` seconds for quick work; return whether no work is pending."""
        if not self.is_pending:
            return True
        return self._threads.wait(lambda: not self.is_pending, 0.0 if self._cost.is_slow else timeout)

    def accept(self, token_id: int, logprobs: TokenLogprobs | None, room: int) -> None:
        """Accept a token, and up to ``room`` forced ones after it. Once idle, ``gained`` has them all."""
        self._mask, self.gained, self.logprobs = None, [token_id], logprobs
        self._do_or_submit(lambda: self._follow(token_id, room))

    def count_allowed(self, draft: list[int]) -> int:
        """Return how many tokens of a draft the grammar allows, as far as the check is quick."""
        is_checked = not self.is_pending and self._error is None and not self._cost.is_slow
        if not is_checked or not self._cost.lock.acquire(blocking=False):
            return 0
        try:
            return self._count(draft)
        finally:
            self._cost.lock.release()

    def cancel(self) -> None:
        """Drop the queued work, and the result of the running work."""
        self._cancelled = True

    def _do_or_submit(self, work: Callable[[], None]) -> None:
        """Do quick work at once, and submit other work to a thread."""
        cost = self._cost
        if cost.is_slow or cost.is_long or not cost.lock.acquire(timeout=STEP_WAIT):
            self._submit(work)
            return
        try:
            self._attempt(work)
        finally:
            cost.lock.release()

    def _submit(self, work: Callable[[], None]) -> None:
        self.is_pending = True
        self._queue(work, slow=self._cost.is_slow)

    def _queue(self, work: Callable[[], None], *, slow: bool) -> None:
        self._threads.submit(lambda: self._run(work, slow=slow), slow=slow)

    def _run(self, work: Callable[[], None], *, slow: bool) -> None:
        """Do work in a thread. If the grammar has become slow meanwhile, move it to the thread for slow work."""
        if not self._cancelled:
            if self._cost.is_slow and not slow:
                self._queue(work, slow=True)
                return
            with self._cost.lock:
                self._attempt(work)
        self._threads.end(self._mark_idle)

    def _mark_idle(self) -> None:
        self.is_pending = False

    def _attempt(self, work: Callable[[], None]) -> None:
        """Do work, and keep its error for :meth:`check` in the step that needs the result."""
        try:
            self._timed(work)
        except BaseException as error:  # noqa: BLE001 - raised again by check()
            self._error = error
        allowance = ANSWER_SECONDS + TOKEN_SECONDS * self._tokens
        if self._error is None and self._seconds > allowance:
            self._error = GrammarError(_too_costly(self._seconds, self._tokens, allowance))

    def _timed(self, work: Callable[[], None]) -> float:
        """Do work; count and return its seconds of processor time."""
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
            # Computing the mask also finds the forced tokens, without the interpreter's lock.
            try:
                mask = matcher.allowed(self._n_vocab)
            except GrammarError:  # an error of the next mask, which is made and raises again; this token is accepted
                return
        forced = matcher.forced()[:room] if room else []
        end = next((at for at, token in enumerate(forced) if token in self._eog_ids), len(forced))
        matcher.accept(forced[:end])
        self._tokens += end
        self.gained += forced[:end]
        self.is_finished, self._mask = matcher.finished, None if end else mask

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
    """The constraints of all choices, and the choices that are held until the work on their grammars ends."""

    def __init__(self, n_vocab: int, eog_ids: frozenset[int], threads: MaskThreads | None = None) -> None:
        self._n_vocab: Final = n_vocab
        self._eog_ids: Final = eog_ids
        self._threads: Final = threads or MaskThreads()
        self._constraints: dict[Sequence, Constraint] = {}
        self._held: dict[Sequence, Floats | None] = {}
        """The row of logits of each held choice's next token; None if that is drawn and being accepted."""
        self._wait_left = STEP_WAIT
        """Seconds that the current step may still wait for quick work."""

    def add(self, sequence: Sequence, constraint: Constraint) -> None:
        """Add a choice's constraint."""
        self._constraints[sequence] = constraint

    def make(self, matcher: Matcher) -> Constraint:
        """Return a new constraint that starts in the state of a matcher."""
        return Constraint(matcher.copy(), self._threads, self._n_vocab, self._eog_ids)

    def get(self, sequence: Sequence) -> Constraint | None:
        """Return a choice's constraint, or None without one."""
        return self._constraints.get(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Remove a choice, held or not, and cancel the work on its grammar."""
        self._held.pop(sequence, None)
        constraint = self._constraints.pop(sequence, None)
        if constraint is not None:
            constraint.cancel()

    def begin_step(self) -> None:
        """Reset the seconds that a step may wait for quick work."""
        self._wait_left = STEP_WAIT

    def start_masks(self, sequences: Iterable[Sequence]) -> None:
        """Start to make the masks of the sequences that have constraints."""
        for sequence in sequences:
            if sequence in self._constraints:
                self._constraints[sequence].start_mask()

    def wait_within_step(self, wait: Callable[[float], bool]) -> bool:
        """Return whether ``wait`` succeeds in the seconds that the step may still wait; if not, none are left."""
        ended = wait(self._wait_left)
        if not ended:
            self._wait_left = 0.0
        return ended

    def hold(self, sequence: Sequence, logits: Floats | None) -> None:
        """Hold a choice until the work on its grammar ends; ``logits`` are copied to draw its next token then."""
        sequence.is_held = True
        self._held[sequence] = None if logits is None else logits.copy()

    def resume(self) -> list[tuple[Sequence, Floats | None]]:
        """Remove the held choices whose work has ended, and return them with their logits."""
        ended = [(held, logits) for held, logits in self._held.items() if not self._constraints[held].is_pending]
        for sequence, _ in ended:
            sequence.is_held = False
            del self._held[sequence]
        return ended

    def wait(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds until a held choice can be resumed; return False when none is held."""
        if self._held:
            self._threads.wait(lambda: any(not self._constraints[held].is_pending for held in self._held), timeout)
        return bool(self._held)

    def check(self, sequences: Collection[Sequence]) -> None:
        """Assert that constraints and held choices are among the engine's sequences."""
        assert self._constraints.keys() <= set(sequences)
        assert self._held.keys() == {sequence for sequence in sequences if sequence.is_held}
        assert all(held.lease is None or held.num_uncomputed_tokens == 0 for held in self._held)

    def close(self) -> bool:
        """End the threads; return False when one is still at work and may read the vocabulary."""
        for constraint in self._constraints.values():
            constraint.cancel()
        return self._threads.close()


def _too_costly(seconds: float, tokens: int, allowance: float) -> str:
    return (
        f"it took {seconds:.1f} seconds of processor time for {tokens} tokens, more than {allowance:.1f}; "
        "a grammar with less choice at each place costs less"
    )
