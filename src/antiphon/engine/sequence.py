"""One choice of one request while the engine works on it. Pure: no text, no numpy, no C."""

from typing import Final

from antiphon.engine.cache.lease import Lease
from antiphon.engine.interface import GenerateRequest


class Sequence:
    """Prompt and answer as one list of token ids, and how many of them the KV memory holds."""

    __slots__ = (
        "arrival",
        "cached_tokens",
        "draft",
        "held",
        "in_flight",
        "index",
        "lease",
        "priority",
        "prompt_len",
        "request",
        "tokens",
        "waits_for",
    )

    def __init__(self, request: GenerateRequest, index: int, arrival: int, priority: float) -> None:
        self.request: Final = request
        self.index: Final = index
        self.arrival: Final = arrival
        """Order of arrival over the engine's life, a tie-breaker."""
        self.priority: Final = priority
        """Seconds; the smaller goes first (arrival time plus the tier's offset)."""
        self.tokens = request.prompt_ids
        self.prompt_len: Final = len(self.tokens)
        self.lease: Lease | None = None
        self.cached_tokens: int | None = None
        """Prompt tokens found in the cache when the sequence first ran; None before."""

        self.draft: list[int] = []
        """What may come after ``tokens``: the next step may try some of it."""
        self.in_flight = 0
        """Tokens that the step at hand computes: their cells are filled, but nobody can share them yet."""
        self.held = False
        """Whether its last token is computed and its next one not known yet: no step has anything to do for it."""
        self.waits_for: tuple[Sequence, int] | None = None
        """A prefilling sequence, and the length of the prefix that this one will share with it once it is computed."""

    @property
    def order(self) -> tuple[float, int, int]:
        """Total order of service: priority, then arrival, then choice."""
        return (self.priority, self.arrival, self.index)

    @property
    def computed(self) -> int:
        """Tokens whose keys and values the memory holds."""
        return 0 if self.lease is None else self.lease.length - self.in_flight

    @property
    def uncomputed(self) -> int:
        """Tokens still to decode: 1 while the sequence generates, more while it prefills."""
        return len(self.tokens) - self.computed

    @property
    def generates(self) -> bool:
        """Whether only its newest tokens are uncomputed: the last one drawn, and what a grammar forced after it.

        A sequence that was preempted computes its answer again from reserved cells, in chunks like a prompt.
        """
        if self.held:
            return False
        if self.uncomputed == 1:
            return True
        return self.computed >= self.prompt_len and self.lease is not None and not self.lease.reserved

    @property
    def generated(self) -> int:
        """Tokens of the answer so far."""
        return len(self.tokens) - self.prompt_len
