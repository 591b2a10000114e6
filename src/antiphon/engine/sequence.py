"""One choice of one request in the engine. Pure: no text, no numpy, no C."""

from typing import Final

from antiphon.engine.cache.lease import Lease
from antiphon.engine.interface import GenerateRequest, MediaSegment


class Sequence:
    """The keys of a prompt and its answer in one list, and the lease of their KV cells.

    A key is a token id, or a negative number for a row of media.
    """

    __slots__ = (
        "arrival",
        "awaited_prefill",
        "draft",
        "index",
        "is_held",
        "lease",
        "media",
        "num_cached_tokens",
        "num_in_flight_tokens",
        "num_prompt_tokens",
        "num_scored_rows",
        "priority",
        "request",
        "tokens",
    )

    def __init__(self, request: GenerateRequest, index: int, arrival: int, priority: float) -> None:
        self.request: Final = request
        self.index: Final = index
        self.arrival: Final = arrival
        """Number of the request in the engine's life, which decides between equal priorities."""
        self.priority: Final = priority
        """Seconds: time of arrival, with the offsets of tier and priority. The smallest is served first."""
        self.tokens = request.prompt_ids
        self.num_prompt_tokens: Final = len(self.tokens)
        self.media: Final = media_by_start(request)
        """The media of the prompt by the position of their first rows, ascending."""
        self.lease: Lease | None = None
        """None while the sequence waits."""
        self.num_cached_tokens: int | None = None
        """Prompt tokens found in the cache when the sequence first ran; None before."""

        self.draft: list[int] = []
        """Tokens that may follow ``tokens``; the next step decodes some of them."""
        self.num_in_flight_tokens = 0
        """Tokens that the current step computes: their cells are filled, but cannot be shared yet."""
        self.num_scored_rows = 0
        """Rows of the prompt that are computed, and whose next tokens have reported their logprobs."""
        self.is_held = False
        """Whether the sequence waits for its grammar: its last token is computed, and the next one not drawn."""
        self.awaited_prefill: tuple[Sequence, int] | None = None
        """A prefilling sequence for which this one waits, and the length of the prefix that both will share."""

    @property
    def order(self) -> tuple[float, int, int]:
        """Total order of service: priority, then arrival, then choice."""
        return (self.priority, self.arrival, self.index)

    @property
    def num_computed_tokens(self) -> int:
        """Tokens whose keys and values are in the KV memory."""
        return 0 if self.lease is None else self.lease.length - self.num_in_flight_tokens

    @property
    def num_uncomputed_tokens(self) -> int:
        """Tokens still to decode: mostly 1 while the sequence generates, more while it prefills."""
        return len(self.tokens) - self.num_computed_tokens

    @property
    def num_generated_tokens(self) -> int:
        """Tokens of the answer so far."""
        return len(self.tokens) - self.num_prompt_tokens

    @property
    def is_scoring(self) -> bool:
        """Whether tokens of the prompt are still to report their logprobs. Of the choices the first one does it."""
        if self.request.prompt_logprobs is None or self.index:
            return False
        return self.num_scored_rows < self.num_prompt_tokens - 1

    def run_end(self, start: int) -> int:
        """Return the position after the last row at ``start`` or later that one batch may hold together with it.

        A batch holds tokens or rows of media. A run of media ends with its segment.
        """
        for begin, segment in self.media.items():
            if start < begin:
                return begin
            if start < begin + segment.length:
                return begin + segment.length
        return len(self.tokens)

    @property
    def is_generating(self) -> bool:
        """Whether only the last drawn token and the forced ones after it are uncomputed.

        A preempted sequence computes its answer again in reserved cells, in chunks like a prompt.
        """
        if self.is_held:
            return False
        if self.num_uncomputed_tokens == 1:
            return True
        is_prompt_computed = self.num_computed_tokens >= self.num_prompt_tokens
        return is_prompt_computed and self.lease is not None and not self.lease.reserved

    @property
    def is_awaiting_prefill(self) -> bool:
        """Whether the awaited prefill is still running and has not computed the shared prefix."""
        if self.awaited_prefill is None:
            return False
        other, length = self.awaited_prefill
        return other.lease is not None and other.num_computed_tokens < length


def media_by_start(request: GenerateRequest) -> dict[int, MediaSegment]:
    """Return the media of a prompt by the position of their first rows."""
    found: dict[int, MediaSegment] = {}
    start = 0
    for segment in request.prompt:
        if isinstance(segment, MediaSegment):
            found[start] = segment
            start += segment.length
        else:
            start += len(segment.ids)
    return found
