"""Token events to chunks: what each choice gained, until every choice has ended. Reference: the chat completion chunk.

Tokens are taken one by one, so the message does not depend on how the engine grouped them into events; an event gives
at most one chunk of content. Everything is counted in bytes of the answer: the content is one run of them, from behind
the reasoning to before the stop string, and a token's logprobs travel with the chunk that carries the last of its text.

Invariants, for every choice: the content is the concatenated ``bytes`` of its logprobs entries (null counts as none),
decoded with replacement; a stop string's index is in exactly one ``Step.aborts``; one chunk has a ``finish_reason``.
Tokens of the reasoning have no entry. Tokens behind a stop string are neither shown nor counted.
"""

from collections import deque

from msgspec import UNSET, Struct, UnsetType

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
        self._choices = [_Choice(index, options, vocabulary, texts) for index in range(options.n)]
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
        chunks = self._gained(choice, choice.push(event.token_ids, event.logprobs))
        if not choice.stopped:
            return Step(chunks, [], done=False)
        chunks.append(self._end(choice, "stop"))
        return Step(chunks, [event.index], done=False)

    def _finished(self, event: Finished) -> Step:
        choice = self._choices[event.index]
        assert not choice.closed, f"choice {event.index} finished twice"
        chunks: list[ChatCompletionChunk] = []
        if choice.finish_reason is None:
            reason = _finish_reason(event)
            chunks = self._gained(choice, choice.flush())
            chunks.append(self._end(choice, "stop" if choice.stopped else reason))
            choice.completion_tokens = event.completion_tokens
        choice.closed = True
        self._open -= 1
        if self._open:
            return Step(chunks, [], done=False)
        return Step([*chunks, self._chunk([], self._usage(event))], [], done=True)

    def _gained(self, choice: "_Choice", gain: "_Gain") -> list[ChatCompletionChunk]:
        content, reasoning, entries = gain
        chunks: list[ChatCompletionChunk] = []
        if not choice.begun:
            choice.begun = True
            chunks.append(self._chunk([ChunkChoice(index=choice.index, delta=_FIRST_DELTA)]))
        if reasoning:
            delta = Delta(reasoning_content=reasoning)
            chunks.append(self._chunk([ChunkChoice(index=choice.index, delta=delta)]))
        if content or entries:
            logprobs = ChoiceLogprobs(entries) if entries else None
            delta = Delta(content=content)
            chunks.append(self._chunk([ChunkChoice(index=choice.index, delta=delta, logprobs=logprobs)]))
        return chunks

    def _end(self, choice: "_Choice", reason: FinishReason) -> ChatCompletionChunk:
        choice.finish_reason = reason
        return self._chunk([ChunkChoice(index=choice.index, delta=_LAST_DELTA, finish_reason=reason)])

    def _usage(self, event: Finished) -> CompletionUsage:
        completion_tokens = sum(choice.completion_tokens for choice in self._choices)
        reasoning_tokens = sum(choice.reasoning_tokens for choice in self._choices)
        return CompletionUsage(
            prompt_tokens=event.prompt_tokens,
            completion_tokens=completion_tokens,
            total_tokens=event.prompt_tokens + completion_tokens,
            prompt_tokens_details=PromptTokensDetails(cached_tokens=max(self._cached_tokens, event.cached_tokens)),
            completion_tokens_details=CompletionTokensDetails(reasoning_tokens=reasoning_tokens),
        )

    def _chunk(self, choices: list[ChunkChoice], usage: CompletionUsage | UnsetType = UNSET) -> ChatCompletionChunk:
        header = self._header
        return ChatCompletionChunk(
            id=header.id,
            created=header.created,
            model=header.model,
            service_tier=header.service_tier,
            system_fingerprint=header.system_fingerprint,
            choices=choices,
            usage=usage,
        )


def _finish_reason(event: Finished) -> FinishReason:
    if event.reason == "error":
        raise InternalServerError(f"The engine could not finish the answer: {event.message or 'it gave no reason'}.")
    if event.reason == "abort":
        raise ServiceUnavailableError("The engine gave the request up.", retry_after=RETRY_AFTER)
    return event.reason


_Gain = tuple[str, str, list[TokenLogprob]]
"""What a choice gained: content, reasoning, and the logprobs of tokens whose content is out."""


class _Choice:
    """One answer on its way from tokens to text."""

    __slots__ = (
        "_content_start",
        "_detokenizer",
        "_entries",
        "_markers",
        "_parser",
        "_reasoning_text",
        "_released",
        "_stop",
        "_vocabulary",
        "begun",
        "closed",
        "completion_tokens",
        "finish_reason",
        "index",
        "stopped",
    )

    def __init__(self, index: int, options: AssemblyOptions, vocabulary: Vocabulary, texts: "_TokenTexts") -> None:
        reasoning = options.reasoning
        self.index = index
        self.begun = self.closed = self.stopped = False
        self.finish_reason: FinishReason | None = None
        self.completion_tokens = 0
        self._vocabulary = vocabulary
        self._detokenizer = Detokenizer()
        self._reasoning_text = Detokenizer()
        self._stop = StopStrings(options.stop) if options.stop else None
        self._parser = ReasoningParser(reasoning, opened=options.reasoning_open) if reasoning else None
        self._markers = (reasoning.start, reasoning.end) if reasoning else ()
        self._entries = _Entries(texts) if options.logprobs else None
        self._content_start = None if reasoning else 0
        self._released = 0

    @property
    def reasoning_tokens(self) -> int:
        """Tokens of the reasoning, its markers included."""
        return self._parser.reasoning_tokens if self._parser else 0

    def push(self, token_ids: list[int], logprobs: list[TokenLogprobs]) -> _Gain:
        """Take tokens, up to the one that completes a stop string."""
        entries = self._entries
        if entries is None and self._stop is None and self._content_start is not None:
            self.completion_tokens += len(token_ids)
            return self._detokenizer.push(b"".join(map(self._vocabulary.token_bytes, token_ids))), "", []
        assert entries is None or len(logprobs) == len(token_ids), f"{len(logprobs)} == {len(token_ids)}"
        content = reasoning = ""
        for position, token_id in enumerate(token_ids):
            self.completion_tokens += 1
            data = self._data(token_id)
            if entries is not None:
                entries.add(token_id, data, logprobs[position])
            if self._content_start is None:
                thought, data = self._reason(data)
                reasoning += thought
            content += self._decode(data)
            if self.stopped:
                break
        return content, reasoning, self._ready()

    def flush(self) -> _Gain:
        """End the answer: give out everything that was held back."""
        reasoning = content = ""
        if self._content_start is None and self._parser is not None:
            thought, data = self._parser.flush()
            reasoning = self._reasoning_text.push(thought) + self._reasoning_text.flush()
            self._content_start = self._parser.content_start
            content = self._decode(data)
        if self._stop is not None and not self.stopped:
            content += self._release(self._stop.flush())
        return content + self._detokenizer.flush(), reasoning, self._ready(final=True)

    def _data(self, token_id: int) -> bytes:
        """Return the token's bytes; before the content, a control token that is part of a marker has its name's."""
        data = self._vocabulary.token_bytes(token_id)
        if not data and self._content_start is None:
            text = self._vocabulary.token_text(token_id)
            return text.encode() if any(text in marker for marker in self._markers) else data
        return data

    def _reason(self, data: bytes) -> tuple[str, bytes]:
        """Return the text of reasoning in ``data``, and the content behind it."""
        assert self._parser is not None
        thought, content = self._parser.push(data)
        text = self._reasoning_text.push(thought) if thought else ""
        self._content_start = self._parser.content_start
        if self._content_start is not None:
            text += self._reasoning_text.flush()
        elif self._entries is not None and self._parser.reasoning:
            self._entries.clear()
        return text, content

    def _decode(self, data: bytes) -> str:
        if not data:
            return ""
        if self._stop is None:
            return self._release(data)
        decided, rest = self._stop.push(data)
        if rest is None:
            return self._release(decided)
        self.stopped = True
        return self._release(decided) + self._detokenizer.flush()

    def _release(self, data: bytes) -> str:
        self._released += len(data)
        return self._detokenizer.push(data)

    def _ready(self, *, final: bool = False) -> list[TokenLogprob]:
        if self._entries is None or self._content_start is None:
            return []
        end = self._content_start + self._released - self._detokenizer.pending
        return self._entries.take(self._content_start, end, final=final or self.stopped)


class _Entries:
    """Tokens whose logprobs wait for their text. Offsets count the bytes of all tokens of the answer."""

    __slots__ = ("_offset", "_texts", "_waiting")

    def __init__(self, texts: "_TokenTexts") -> None:
        self._texts = texts
        self._offset = 0
        self._waiting: deque[tuple[int, int, bytes, TokenLogprobs]] = deque()

    def add(self, token_id: int, data: bytes, logprobs: TokenLogprobs) -> None:
        """Append a token."""
        self._waiting.append((self._offset, token_id, data, logprobs))
        self._offset += len(data)

    def clear(self) -> None:
        """Forget the tokens that wait: all of their bytes are reasoning."""
        self._waiting.clear()

    def take(self, start: int, end: int, *, final: bool) -> list[TokenLogprob]:
        """Return the entries of the content from ``start`` to ``end``, the one across ``end`` only when that is final.

        A token across a bound gives the part of its bytes within; a token without bytes belongs to what follows it.
        """
        taken = []
        waiting = self._waiting
        while waiting:
            offset, token_id, data, logprobs = waiting[0]
            if offset + len(data) > end and not (final and offset < end):
                break
            waiting.popleft()
            if offset >= start or offset + len(data) > start:
                shown = data[max(0, start - offset) : end - offset]
                taken.append(self._texts.entry(token_id, shown, logprobs))
        return taken


class _TokenTexts(dict[int, tuple[bytes, str, list[int] | None]]):
    """Bytes, printable text and ``bytes`` field of tokens, made once per answer."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        self._vocabulary = vocabulary

    def __missing__(self, token_id: int) -> tuple[bytes, str, list[int] | None]:
        data = self._vocabulary.token_bytes(token_id)
        text = data.decode("utf-8", "replace") if data else self._vocabulary.token_text(token_id)
        texts = self[token_id] = (data, text, list(data) or None)
        return texts

    def entry(self, token_id: int, shown: bytes, logprobs: TokenLogprobs) -> TokenLogprob:
        """Return the entry of a token of whose bytes ``shown`` is content."""
        whole, text, numbers = self[token_id]
        if shown != whole:
            text, numbers = shown.decode("utf-8", "replace"), list(shown)
        alternatives = zip(map(self.__getitem__, logprobs.top_ids), logprobs.top_logprobs, strict=True)
        top = [TopLogprob(text, logprob, numbers) for (_, text, numbers), logprob in alternatives]
        return TokenLogprob(text, logprobs.logprob, numbers, top)
