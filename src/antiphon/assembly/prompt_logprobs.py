"""Makes the entries of ``prompt_logprobs`` from the events of the engine, in vLLM's shape."""

from antiphon.assembly.token_logprobs import TokenTexts
from antiphon.engine.interface import PromptLogprobs, PromptTokenLogprobs
from antiphon.protocol.responses import PromptLogprob, PromptLogprobsEntry


class PromptEntries:
    """The positions of one prompt that have their entries."""

    __slots__ = ("_length", "_texts")

    def __init__(self, texts: TokenTexts) -> None:
        self._texts = texts
        self._length = 0

    def add(self, event: PromptLogprobs) -> list[PromptLogprobsEntry]:
        """Return the entries of the event's tokens, after null for each position before them without an entry."""
        return [*self.until(event.start), *(self._entry(each) for each in self._counted(event.tokens))]

    def until(self, end: int) -> list[PromptLogprobsEntry]:
        """Return null for each position before ``end`` that has no entry."""
        missing = end - self._length
        self._length = end
        return [None] * missing

    def _counted(self, tokens: list[PromptTokenLogprobs | None]) -> list[PromptTokenLogprobs | None]:
        self._length += len(tokens)
        return tokens

    def _entry(self, token: PromptTokenLogprobs | None) -> PromptLogprobsEntry:
        if token is None:
            return None
        likely = zip(token.top_ids, token.top_logprobs, strict=True)
        ranked = [(token_id, logprob, rank) for rank, (token_id, logprob) in enumerate(likely, 1)]
        all_tokens = [(token.token_id, token.logprob, token.rank), *ranked]
        return {str(id_): PromptLogprob(logprob, rank, self._texts[id_][1]) for id_, logprob, rank in all_tokens}
