"""Turns the token events of one request into chunks. Reference: the chat completion chunk.

Tokens are processed one by one, so the message does not depend on how the engine grouped them into events. An event
gives at most one chunk of content. Positions are byte offsets in the answer. Content is the text after the reasoning
and before the stop string, without tool calls. A token's logprobs are in the chunk with the last byte of its text.

The first delta of a tool call holds its index, id, type and name; later deltas hold pieces of the arguments. The
reference has no delta for the call of a custom tool: the server sends type ``custom`` with ``custom.name`` and
``custom.input``. If tools may be called, the first delta has null content, and a message of calls alone keeps it.

Invariants, for every choice:

- The content is the concatenated ``bytes`` of its logprobs entries (null counts as empty), decoded with replacement.
- A choice that reaches a stop string, or repeats a call, is in ``aborts`` of exactly one :class:`AssemblerOutput`.
- Exactly one chunk has a ``finish_reason``.
- Tokens of reasoning and of calls have no logprobs entry. Tokens after a stop string or a repeated call are neither
  sent nor counted.
"""

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from antiphon.assembly.call_pieces import CallStart, CallText
from antiphon.assembly.choice import AssemblyOptions, ChoiceDelta, ChoiceState
from antiphon.assembly.detokenizer import Vocabulary
from antiphon.assembly.prompt_logprobs import PromptEntries
from antiphon.assembly.token_logprobs import TokenTexts
from antiphon.engine.interface import Finished, PromptLogprobs, Started, StreamEvent, TokenEvent
from antiphon.errors import InternalServerError, InvalidRequestError, ServiceUnavailableError
from antiphon.protocol.responses import (
    ChatCompletionChunk,
    ChoiceLogprobs,
    ChunkChoice,
    CompletionTokensDetails,
    CompletionUsage,
    CustomCallDelta,
    Delta,
    FinishReason,
    FunctionCallDelta,
    PromptLogprobsEntry,
    PromptTokensDetails,
    ServiceTier,
    ToolCallDelta,
)

_FIRST_DELTA = Delta(role="assistant", content="", refusal=None)
_FIRST_DELTA_WITH_TOOLS = Delta(role="assistant", content=None, refusal=None)
_LAST_DELTA = Delta()
_ONLY_DELTA = Delta(content="")
"""The last delta of an empty choice whose content opened as null: the message gets an empty text."""


class ChunkHeader(Struct, frozen=True, kw_only=True):
    """The fields that are equal in all chunks of one answer."""

    id: str
    created: int
    """Unix seconds."""
    model: str
    service_tier: ServiceTier
    system_fingerprint: str


class AssemblerOutput(Struct, frozen=True):
    """The result of one event."""

    chunks: list[ChatCompletionChunk]
    aborts: list[int]
    """Choices that this event brought to a stop string or a repeated call: the engine can stop generating them."""
    done: bool
    """Every choice has ended; the last chunk carries the usage."""


class Assembler:
    """Makes the chunks of one answer from the events of one request."""

    __slots__ = (
        "_cached_tokens",
        "_choices",
        "_first_logprobs",
        "_header",
        "_new_call_id",
        "_open",
        "_prompt_entries",
        "_prompt_token_ids",
        "_prompt_tokens",
        "_returns_token_ids",
        "_tools",
    )

    def __init__(self, header: ChunkHeader, options: AssemblyOptions, vocabulary: Vocabulary) -> None:
        self._header = header
        self._prompt_tokens = options.running_usage
        self._returns_token_ids = options.prompt_token_ids is not None
        prompt_token_ids = options.prompt_token_ids
        self._prompt_token_ids: list[int] | UnsetType = UNSET if prompt_token_ids is None else prompt_token_ids
        self._tools = options.tools
        self._new_call_id = options.new_call_id
        self._first_logprobs = ChoiceLogprobs([]) if options.logprobs else None
        texts = TokenTexts(vocabulary)
        self._prompt_entries = PromptEntries(texts) if options.prompt_logprobs else None
        self._choices = [ChoiceState(index, options, vocabulary, texts) for index in range(options.n)]
        self._open = options.n
        self._cached_tokens = 0

    def push(self, event: StreamEvent) -> AssemblerOutput:
        """Process the next event and return its chunks.

        Raises ``InternalServerError`` if the engine ended a choice with an error, ``InvalidRequestError`` if the
        choice's grammar takes too much work, and ``ServiceUnavailableError`` if the engine aborted a choice that has
        reached neither a stop string nor a repeated call.
        """
        if isinstance(event, TokenEvent):
            return self._tokens(event)
        if isinstance(event, Started):
            self._cached_tokens = event.cached_tokens
            return AssemblerOutput([], [], done=False)
        if isinstance(event, PromptLogprobs):
            assert self._prompt_entries is not None, "nobody has asked for the logprobs of the prompt"
            chunk = self._chunk([], prompt_logprobs=self._prompt_entries.add(event))
            return AssemblerOutput([chunk], [], done=False)
        return self._finished(event)

    def _tokens(self, event: TokenEvent) -> AssemblerOutput:
        choice = self._choices[event.index]
        if choice.finish_reason is not None:
            return AssemblerOutput([], [], done=False)
        if choice.role_sent and choice.is_plain and not event.is_end:
            text = choice.push_plain(event.token_ids)
            return AssemblerOutput([self._delta(choice, Delta(content=text))] if text else [], [], done=False)
        before = choice.completion_tokens
        chunks = self._delta_chunks(choice, choice.push(event.token_ids, event.logprobs, is_end=event.is_end))
        if self._returns_token_ids:
            self._add_token_ids(choice, chunks, event.token_ids[: choice.completion_tokens - before])
        if not choice.stopped:
            return AssemblerOutput(chunks, [], done=False)
        chunks.append(self._end(choice, "stop"))
        return AssemblerOutput(chunks, [event.index], done=False)

    def _add_token_ids(self, choice: ChoiceState, chunks: list[ChatCompletionChunk], token_ids: list[int]) -> None:
        """Add token ids to the last chunk of an event, or to a chunk of their own if the event has none."""
        if not chunks:
            chunks.append(self._delta(choice, Delta()))
        chosen = replace(chunks[-1].choices[0], token_ids=token_ids)
        chunks[-1] = replace(chunks[-1], choices=[chosen])

    def _take_prompt_token_ids(self) -> list[int] | UnsetType:
        """Return the tokens of the prompt for the first chunk, and nothing for later ones."""
        token_ids, self._prompt_token_ids = self._prompt_token_ids, UNSET
        return token_ids

    def _finished(self, event: Finished) -> AssemblerOutput:
        choice = self._choices[event.index]
        assert not choice.closed, f"choice {event.index} finished twice"
        chunks: list[ChatCompletionChunk] = []
        if choice.finish_reason is None:
            reason = _finish_reason(event)
            chunks = self._delta_chunks(choice, choice.flush())
            chunks.append(self._end(choice, "stop" if choice.stopped else reason))
            choice.completion_tokens = event.completion_tokens
        # Tokens of a draft after a stop string are not part of the answer.
        choice.accepted_prediction_tokens = min(event.accepted_prediction_tokens, choice.completion_tokens)
        choice.rejected_prediction_tokens = event.rejected_prediction_tokens
        choice.closed = True
        self._open -= 1
        if self._open:
            return AssemblerOutput(chunks, [], done=False)
        usage = self._usage(event.prompt_tokens, event.cached_tokens)
        rest = UNSET if self._prompt_entries is None else self._prompt_entries.until(event.prompt_tokens)
        return AssemblerOutput([*chunks, self._chunk([], usage, rest)], [], done=True)

    def _delta_chunks(self, choice: ChoiceState, new: ChoiceDelta) -> list[ChatCompletionChunk]:
        chunks: list[ChatCompletionChunk] = []
        if not choice.role_sent:
            choice.role_sent = True
            first = _FIRST_DELTA if self._tools is None else _FIRST_DELTA_WITH_TOOLS
            chunks.append(self._delta(choice, first, self._first_logprobs))
        if new.reasoning:
            chunks.append(self._delta(choice, Delta(reasoning_content=new.reasoning)))
        if new.content or new.entries:
            logprobs = ChoiceLogprobs(new.entries) if new.entries else None
            chunks.append(self._delta(choice, Delta(content=new.content), logprobs))
        chunks.extend(self._delta(choice, delta) for piece in new.calls if (delta := self._call_delta(choice, piece)))
        return chunks

    def _delta(self, choice: ChoiceState, delta: Delta, logprobs: ChoiceLogprobs | None = None) -> ChatCompletionChunk:
        return self._chunk([ChunkChoice(index=choice.index, delta=delta, logprobs=logprobs)])

    def _call_delta(self, choice: ChoiceState, piece: CallStart | CallText) -> Delta | None:
        assert self._tools is not None
        if self._tools.legacy:
            return _legacy_delta(piece)
        if isinstance(piece, CallText):
            if piece.index in choice.custom_calls:
                call = ToolCallDelta(index=piece.index, custom=CustomCallDelta(input=piece.text))
            else:
                call = ToolCallDelta(index=piece.index, function=FunctionCallDelta(arguments=piece.text))
        elif piece.custom:
            choice.custom_calls.add(piece.index)
            custom = CustomCallDelta(name=piece.name, input="")
            call = ToolCallDelta(index=piece.index, id=self._new_call_id(), type="custom", custom=custom)
        else:
            function = FunctionCallDelta(name=piece.name, arguments="")
            call = ToolCallDelta(index=piece.index, id=self._new_call_id(), type="function", function=function)
        return Delta(tool_calls=[call])

    def _end(self, choice: ChoiceState, reason: FinishReason) -> ChatCompletionChunk:
        if reason == "stop" and choice.has_calls and self._tools is not None:
            reason = self._tools.finish_reason()
        choice.finish_reason = reason
        delta = _ONLY_DELTA if choice.is_empty else _LAST_DELTA
        return self._chunk([ChunkChoice(index=choice.index, delta=delta, finish_reason=reason)])

    def _usage(self, prompt_tokens: int, cached_tokens: int = 0) -> CompletionUsage:
        """Return the tokens of all choices so far."""
        accepted = sum(choice.accepted_prediction_tokens for choice in self._choices)
        rejected = sum(choice.rejected_prediction_tokens for choice in self._choices)
        # Reference, predicted outputs: rejected prediction tokens count as completion tokens.
        completion_tokens = sum(choice.completion_tokens for choice in self._choices) + rejected
        details = CompletionTokensDetails(
            reasoning_tokens=sum(choice.reasoning_tokens for choice in self._choices),
            accepted_prediction_tokens=accepted,
            rejected_prediction_tokens=rejected,
        )
        return CompletionUsage(
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            total_tokens=prompt_tokens + completion_tokens,
            prompt_tokens_details=PromptTokensDetails(cached_tokens=max(self._cached_tokens, cached_tokens)),
            completion_tokens_details=details,
        )

    def _chunk(
        self,
        choices: list[ChunkChoice],
        usage: CompletionUsage | UnsetType = UNSET,
        prompt_logprobs: list[PromptLogprobsEntry] | UnsetType = UNSET,
    ) -> ChatCompletionChunk:
        header = self._header
        if usage is UNSET and self._prompt_tokens is not None:
            usage = self._usage(self._prompt_tokens)
        return ChatCompletionChunk(
            id=header.id,
            created=header.created,
            model=header.model,
            service_tier=header.service_tier,
            system_fingerprint=header.system_fingerprint,
            choices=choices,
            usage=usage,
            prompt_token_ids=self._take_prompt_token_ids(),
            prompt_logprobs=prompt_logprobs,
        )


def _finish_reason(event: Finished) -> FinishReason:
    if event.reason == "grammar":
        message = f"The answer cannot be held to its tools or its response format: {event.message}."
        raise InvalidRequestError(message, code="grammar_too_costly")
    if event.reason == "error":
        raise InternalServerError(f"The engine could not finish the answer: {event.message or 'it gave no reason'}.")
    if event.reason == "abort":
        raise ServiceUnavailableError("The engine gave the request up.")
    return event.reason


def _legacy_delta(piece: CallStart | CallText) -> Delta | None:
    """Return the ``function_call`` delta of the first call, None for later calls: the message holds only one."""
    if piece.index:
        return None
    if isinstance(piece, CallText):
        return Delta(function_call=FunctionCallDelta(arguments=piece.text))
    return Delta(function_call=FunctionCallDelta(name=piece.name, arguments=""))
