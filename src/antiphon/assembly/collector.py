"""Joins the chunks of an answer into a completion.

Texts and logprobs are kept as their JSON bytes, so that the memory of an answer is known. Measured: 4 bytes for a token
of text alone, 1.6 KB for a token with 20 alternatives.
"""

from array import array
from typing import Generic, TypeVar, cast

import msgspec
from msgspec import UNSET, UnsetType

from antiphon.protocol.responses import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionMessage,
    Choice,
    ChoiceLogprobs,
    ChunkChoice,
    CompletionUsage,
    CustomCall,
    CustomToolCall,
    Delta,
    FinishReason,
    FunctionCall,
    FunctionCallDelta,
    FunctionToolCall,
    PromptLogprobsEntry,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
)
from antiphon.protocol.stored import StoredChoice, stored_choice

_encoder = msgspec.json.Encoder()
_Entry = TypeVar("_Entry")


class Collector:
    """Joins the chunks of one answer, from any backend."""

    def __init__(self) -> None:
        self._first: ChatCompletionChunk | None = None
        self._choices: dict[int, _Choice] = {}
        self._usage: CompletionUsage | None = None
        self._prompt_logprobs: _Entries[PromptLogprobsEntry] | None = None

    def add(self, chunk: ChatCompletionChunk) -> int:
        """Add the next chunk; return how many bytes of JSON its texts and logprobs add to the answer."""
        if self._first is None:
            self._first = chunk
        if isinstance(chunk.usage, CompletionUsage) and not chunk.choices:
            self._usage = chunk.usage
        size = 0
        if not isinstance(chunk.prompt_logprobs, UnsetType):
            self._prompt_logprobs = self._prompt_logprobs or _Entries()
            size = self._prompt_logprobs.add(chunk.prompt_logprobs)
        return size + sum(self._choices.setdefault(choice.index, _Choice()).add(choice) for choice in chunk.choices)

    @property
    def first(self) -> ChatCompletionChunk | None:
        """The first chunk, None before it; all chunks share its header."""
        return self._first

    @property
    def usage(self) -> CompletionUsage | None:
        """The usage, None before the chunk that carries it."""
        return self._usage

    def stored_choices(self) -> list[StoredChoice]:
        """Return the choices so far for the store; an unfinished choice has no ``finish_reason``.

        Encode them before the next ``add``: their logprobs are JSON text in a shared buffer.
        """
        return [choice.stored(index) for index, choice in sorted(self._choices.items())]

    def completion(self) -> ChatCompletion:
        """Return the completion; every choice must have ended and the usage must be there."""
        return msgspec.json.decode(self.body(), type=ChatCompletion)

    def body(self) -> bytes:
        """Return the completion as JSON; every choice must have ended and the usage must be there."""
        first, usage = self._first, self._usage
        assert first is not None, "no chunk came"
        assert usage is not None, "no usage came"
        return _encoder.encode(
            ChatCompletion(
                id=first.id,
                created=first.created,
                model=first.model,
                choices=[choice.choice(index) for index, choice in sorted(self._choices.items())],
                usage=usage,
                service_tier=first.service_tier,
                system_fingerprint=first.system_fingerprint,
                prompt_token_ids=first.prompt_token_ids,
                prompt_logprobs=UNSET if self._prompt_logprobs is None else self._prompt_logprobs.encoded(),
            )
        )


class _Choice:
    """One choice so far. A text is None until its first piece, which may be empty."""

    def __init__(self) -> None:
        self._texts: dict[str, bytearray] = {}
        self._logprobs: dict[str, _Entries[TokenLogprob]] = {}
        self._tool_calls: dict[int, _Call] = {}
        self._function_call: _Call | None = None
        self._finish_reason: FinishReason | None = None
        self._token_ids: array[int] | None = None

    def add(self, choice: ChunkChoice) -> int:
        """Add a delta; return how many bytes of JSON it adds."""
        self._finish_reason = choice.finish_reason or self._finish_reason
        size = self._add_texts(choice.delta) + self._add_calls(choice.delta) + self._add_token_ids(choice.token_ids)
        return size if choice.logprobs is None else size + self._add_logprobs(choice.logprobs)

    def _add_texts(self, delta: Delta) -> int:
        size = 0
        texts = {"content": delta.content, "refusal": delta.refusal, "reasoning_content": delta.reasoning_content}
        for name, text in texts.items():
            if isinstance(text, str):
                size += _append(self._texts.setdefault(name, bytearray()), text)
        return size

    def _add_token_ids(self, token_ids: list[int] | UnsetType) -> int:
        if isinstance(token_ids, UnsetType):
            return 0
        if self._token_ids is None:
            self._token_ids = array("i")
        self._token_ids.extend(token_ids)
        return sum(len(str(token)) + 1 for token in token_ids)

    def _add_calls(self, delta: Delta) -> int:
        size = 0
        if not isinstance(delta.tool_calls, UnsetType):
            for call in delta.tool_calls:
                size += self._tool_calls.setdefault(call.index, _Call()).add(call)
        if not isinstance(delta.function_call, UnsetType):
            self._function_call = self._function_call or _Call()
            size += self._function_call.add_function(delta.function_call)
        return size

    def _add_logprobs(self, logprobs: ChoiceLogprobs) -> int:
        size = 0
        for name, entries in (("content", logprobs.content), ("refusal", logprobs.refusal)):
            if entries is not None:
                size += self._logprobs.setdefault(name, _Entries()).add(entries)
        return size

    def choice(self, index: int) -> Choice:
        """Return the choice, which must have ended."""
        assert self._finish_reason is not None, f"choice {index} has not ended"
        token_ids = UNSET if self._token_ids is None else self._token_ids.tolist()
        return Choice(index, self._message(), self._all_logprobs(), self._finish_reason, token_ids)

    def stored(self, index: int) -> StoredChoice:
        """Return the choice for the store, finished or not."""
        return stored_choice(index, self._message(), self._finish_reason, self._all_logprobs())

    def _all_logprobs(self) -> ChoiceLogprobs | None:
        if not self._logprobs:
            return None
        encoded = {name: entries.encoded() for name, entries in self._logprobs.items()}
        return ChoiceLogprobs(encoded.get("content"), encoded.get("refusal"))

    def _message(self) -> ChatCompletionMessage:
        reasoning = self._text("reasoning_content")
        calls: list[ToolCall] = [call.tool_call() for _, call in sorted(self._tool_calls.items())]
        # A stream may open with empty content; the content of a message of calls alone is null.
        content = (self._text("content") or None) if calls or self._function_call else self._text("content")
        return ChatCompletionMessage(
            content=content,
            refusal=self._text("refusal"),
            reasoning_content=UNSET if reasoning is None else reasoning,
            tool_calls=calls or UNSET,
            function_call=self._function_call.function() if self._function_call else UNSET,
        )

    def _text(self, name: str) -> str | None:
        return self._texts[name].decode() if name in self._texts else None


class _Entries(Generic[_Entry]):
    """An array of entries as JSON text, which ends in ``[`` or ``,`` while it grows."""

    def __init__(self) -> None:
        self._text = bytearray(b"[")

    def add(self, entries: list[_Entry]) -> int:
        """Append the entries; return their size in bytes."""
        text = self._text
        before = len(text)
        if text.endswith(b"]"):
            text[-1:] = b","
        for entry in entries:
            text += _encoder.encode(entry)
            text += b","
        return len(text) - before

    def encoded(self) -> list[_Entry]:
        """Return the array, only for encoding; add nothing while it is in use."""
        if self._text == b"[":
            return []
        self._text[-1:] = b"]"
        return cast("list[_Entry]", msgspec.Raw(self._text))


def _append(text: bytearray, piece: str) -> int:
    """Append the piece as UTF-8; return its size in bytes."""
    data = piece.encode()
    text += data
    return len(data)


class _Call:
    """One tool call so far: id and name come once, the arguments or the input in pieces."""

    def __init__(self) -> None:
        self._id: str | UnsetType = UNSET
        self._name: str | UnsetType = UNSET
        self._custom = False
        self._text = bytearray()

    def add(self, delta: ToolCallDelta) -> int:
        """Add the next delta; return the size of its text in bytes."""
        size = 0
        if delta.id is not UNSET:
            self._id = delta.id
        if not isinstance(delta.function, UnsetType):
            size += self.add_function(delta.function)
        if not isinstance(delta.custom, UnsetType):
            self._custom = True
            size += self._add(delta.custom.name, delta.custom.input)
        return size

    def add_function(self, delta: FunctionCallDelta) -> int:
        """Add a delta of a function; return the size of its arguments in bytes."""
        return self._add(delta.name, delta.arguments)

    def _add(self, name: str | UnsetType, text: str | UnsetType) -> int:
        if name is not UNSET:
            self._name = name
        return 0 if isinstance(text, UnsetType) else _append(self._text, text)

    def function(self) -> FunctionCall:
        """Return name and arguments; the name must be there."""
        assert self._name is not UNSET, "a call without a name"
        return FunctionCall(self._name, self._text.decode())

    def tool_call(self) -> ToolCall:
        """Return the call with its id, which must be there."""
        assert self._id is not UNSET, "a call without an id"
        function = self.function()
        if self._custom:
            return CustomToolCall(self._id, CustomCall(function.name, function.arguments))
        return FunctionToolCall(self._id, function)
