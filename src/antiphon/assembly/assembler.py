"""Token events to chunks: what each choice gained, until every choice has ended. Reference: the chat completion chunk.

Tokens are taken one by one, so the message does not depend on how the engine grouped them into events; an event gives at
most one chunk of text. Everything is counted in bytes of the answer: the content is one run of them, from behind the
reasoning to before the stop string, and a token's logprobs travel with the chunk that carries the last of its text.

Invariants, for every choice: the content is the concatenated ``bytes`` of its logprobs entries (null counts as none),
decoded with replacement; a stop string's index is in exactly one ``Step.aborts``; one chunk has a ``finish_reason``.
Tokens of the reasoning have no entry. Tokens behind a stop string are neither shown nor counted.
"""

from collections import deque

from msgspec import Struct

from antiphon.assembly.detokenizer import Detokenizer, Vocabulary
from antiphon.assembly.reasoning_parser import ReasoningParser
from antiphon.assembly.stop_strings import StopStrings
from antiphon.chat_formats.base import ReasoningMarkers
from antiphon.engine.interface import Finished, Started, StreamEvent, TokenEvent, TokenLogprobs
from antiphon.errors import InternalServerError, ServiceUnavailableError
from antiphon.protocol.responses import (
    ChatCompletionChunk,
    ChoiceLogprobs,
    ChunkChoice,
    CompletionTokensDetails,
    CompletionUsage,
    Delta,
    FinishReason,
    PromptTokensDetails,
    ServiceTier,
    TokenLogprob,
    TopLogprob,
)

RETRY_AFTER = 1.0
"""Seconds, after an engine gave a request up."""
_FIRST_DELTA = Delta(role="assistant", content="", refusal=None)
_LAST_DELTA = Delta()


class ChunkHeader(Struct, frozen=True, kw_only=True):
    """What all chunks of one answer share."""

    id: str
    created: int
    """Unix seconds."""
    model: str
    service_tier: ServiceTier
    system_fingerprint: str


class AssemblyOptions(Struct, frozen=True, kw_only=True):
    """What the request and the model's chat format ask of the assembly."""

    n: int = 1
    stop: tuple[str, ...] = ()
    reasoning: ReasoningMarkers | None = None
    reasoning_open: bool = False
    """The prompt ends inside an open reasoning block."""
    logprobs: bool = False


class Step(Struct, frozen=True):
    """What one event led to."""

    chunks: list[ChatCompletionChunk]
    aborts: list[int]
    """Choices that reached a stop string just now: the engine need not go on with them."""
    done: bool
    """Every choice has ended; the last chunk carries the usage."""


class Assembler:
    """Makes the chunks of one answer from the events of one request."""

    __slots__ = ("_cached_tokens", "_choices", "_header", "_open")

    def __init__(self, header: ChunkHeader, options: AssemblyOptions, vocabulary: Vocabulary) -> None:
        self._header = header
        texts = _TokenTexts(vocabulary)
        self._choices = [_Choice(options, vocabulary, texts) for _ in range(options.n)]
        self._open = options.n
        self._cached_tokens = 0

    def push(self, event: StreamEvent) -> Step:
        """Take the next event.

        Raises ``InternalServerError`` when the engine ended a choice with an error, ``ServiceUnavailableError`` when it
        gave one up that nobody aborted.
        """
        if isinstance(event, TokenEvent):
            return self._tokens(event)
        if isinstance(event, Started):
            self._cached_tokens = event.cached_tokens
            return Step([], [], done=False)
        return self._finished(event)

    def _tokens(self, event: TokenEvent) -> Step:
        choice = self._choices[event.index]
        if choice.finish_reason is not None:
            return Step([], [], done=False)
        chunks = self._begin(event.index)
        content, reasoning = choice.push(event.token_ids, event.logprobs)
        chunks += self._gained(event.index, content, reasoning)
        if not choice.stopped:
            return Step(chunks, [], done=False)
        return Step([*chunks, self._end(event.index, "stop")], [event.index], done=False)

    def _finished(self, event: Finished) -> Step:
        choice = self._choices[event.index]
        assert not choice.closed, f"choice {event.index} finished twice"
        chunks: list[ChatCompletionChunk] = []
        if choice.finish_reason is None:
            reason = _finish_reason(event)
            chunks += self._begin(event.index)
            chunks += self._gained(event.index, *choice.flush())
            chunks.append(self._end(event.index, reason))
            choice.completion_tokens = event.completion_tokens
        choice.closed = True
        self._open -= 1
        if self._open:
            return Step(chunks, [], done=False)
        return Step([*chunks, self._usage(event)], [], done=True)

    def _begin(self, index: int) -> list[ChatCompletionChunk]:
        choice = self._choices[index]
        if choice.begun:
            return []
        choice.begun = True
        return [self._chunk(ChunkChoice(index=index, delta=_FIRST_DELTA))]

    def _gained(self, index: int, content: str, reasoning: str) -> list[ChatCompletionChunk]:
        logprobs = self._choices[index].logprobs()
        chunks = []
        if reasoning:
            chunks.append(self._chunk(ChunkChoice(index=index, delta=Delta(reasoning_content=reasoning))))
        if content or logprobs is not None:
            chunks.append(self._chunk(ChunkChoice(index=index, delta=Delta(content=content), logprobs=logprobs)))
        return chunks

    def _end(self, index: int, reason: FinishReason) -> ChatCompletionChunk:
        self._choices[index].finish_reason = reason
        return self._chunk(ChunkChoice(index=index, delta=_LAST_DELTA, finish_reason=reason))

    def _usage(self, event: Finished) -> ChatCompletionChunk:
        completion_tokens = sum(choice.completion_tokens for choice in self._choices)
        reasoning_tokens = sum(choice.reasoning_tokens for choice in self._choices)
        usage = CompletionUsage(
            prompt_tokens=event.prompt_tokens,
            completion_tokens=completion_tokens,
            total_tokens=event.prompt_tokens + completion_tokens,
            prompt_tokens_details=PromptTokensDetails(cached_tokens=max(self._cached_tokens, event.cached_tokens)),
            completion_tokens_details=CompletionTokensDetails(reasoning_tokens=reasoning_tokens),
        )
        return self._chunk(usage=usage)

    def _chunk(self, choice: ChunkChoice | None = None, usage: CompletionUsage | None = None) -> ChatCompletionChunk: ...


def _finish_reason(event: Finished) -> FinishReason:
    match event.reason:
        case "stop" | "length":
            return event.reason
        case "error":
            raise InternalServerError(f"The engine could not finish the answer: {event.message or 'no reason given'}.")
        case "abort":
            raise ServiceUnavailableError("The engine gave the request up.", retry_after=RETRY_AFTER)


class _Choice:
    """One answer on its way from tokens to text."""

    __slots__ = (
        "_content_start",
        "_detokenizer",
        "_entries",
        "_parser",
        "_reasoning_detokenizer",
        "_released",
        "_stop",
        "_token_bytes",
        "begun",
        "closed",
        "completion_tokens",
        "finish_reason",
        "stopped",
    )

    def __init__(self, options: AssemblyOptions, vocabulary: Vocabulary, texts: "_TokenTexts") -> None:
        self._token_bytes = vocabulary.token_bytes
