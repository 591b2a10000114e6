"""Bounds the memory that collected answers take together.

An answer is collected if it is not streamed, or is stored or kept under an Idempotency-Key. It counts from its first
chunk until it is sent and stored. A token is 4 bytes of JSON, or 1,600 with 20 alternatives: without a bound, an answer
of 2^20 tokens would take 1.6 GB.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from antiphon.errors import AnswerMemoryError, InvalidRequestError

SMALL_ANSWER: Final = 64 * 1024
"""Bytes up to which an answer counts but is never ended, so that long answers do not block short ones."""
MAX_ANSWER: Final = 32 * 1024 * 1024
"""Bytes of one answer: some 21,000 tokens with 20 alternatives each, or 70,000 with five."""
MAX_ANSWERS: Final = 256 * 1024 * 1024
"""Bytes of all answers together. While an answer is encoded, it takes three times its bytes."""


class AnswerMemory:
    """Counts the bytes of all collected answers.

    Invariant: ``held`` is the sum of the open shares.
    """

    def __init__(self, limit: int = MAX_ANSWERS) -> None:
        """``limit`` is in bytes."""
        self.limit = limit
        self.held = 0

    @contextmanager
    def share(self) -> Iterator["AnswerShare"]:
        """Count one answer until the block ends."""
        share = AnswerShare(self)
        try:
            yield share
        finally:
            self.held -= share.held
            assert self.held >= 0, f"{self.held} >= 0"


class AnswerShare:
    """Counts the bytes of one answer."""

    def __init__(self, memory: AnswerMemory) -> None:
        self._memory = memory
        self.held = 0

    def grow(self, size: int) -> None:
        """Count ``size`` more bytes.

        Raises ``InvalidRequestError`` when the answer is too large, and ``AnswerMemoryError`` when all answers together
        are and this one is not small.
        """
        self.held += size
        self._memory.held += size
        if self.held > MAX_ANSWER:
            raise InvalidRequestError(
                f"The answer is longer than {MAX_ANSWER} bytes of JSON, the limit for answers that are not streamed, "
                "or are stored or kept for an Idempotency-Key. Ask for fewer tokens, choices, top_logprobs "
                "or prompt_logprobs, or stream it without store and Idempotency-Key.",
                code="answer_too_large",
            )
        if self._memory.held > self._memory.limit and self.held > SMALL_ANSWER:
            message = (
                f"All collected answers together may take {self._memory.limit} bytes of this server's memory, and "
                "there is no room for more of this one now. Streamed answers that are not stored are not collected."
            )
            raise AnswerMemoryError(message)
