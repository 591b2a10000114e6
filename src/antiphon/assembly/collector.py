"""Chunks to the whole answer: a completion equal to what the stream said, wherever the chunks came from."""

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
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
)
from antiphon.protocol.stored import StoredChoice, stored_choice


class Collector:
    """Adds up the chunks of one answer."""

    def __init__(self) -> None:
        self._first: ChatCompletionChunk | None = None
        self._choices: dict[int, _Choice] = {}
        self._usage: CompletionUsage | None = None

    def add(self, chunk: ChatCompletionChunk) -> None:
        """Take the next chunk."""
        if self._first is None:
            self._first = chunk
        if isinstance(chunk.usage, CompletionUsage):
            self._usage = chunk.usage
        for choice in chunk.choices:
            self._choices.setdefault(choice.index, _Choice()).add(choice)

    @property
    def usage(self) -> CompletionUsage | None:
        """The usage, once it came."""
        return self._usage

    def stored_choices(self) -> list[StoredChoice]:
        """Return what came so far, as it is stored: a choice that has not ended has no ``finish_reason``."""
        return [choice.stored(index) for index, choice in sorted(self._choices.items())]

    def completion(self) -> ChatCompletion:
        """Return the answer; every choice must have ended and the usage come."""
        first, usage = self._first, self._usage
        assert first is not None, "no chunk came"
        assert usage is not None, "no usage came"
        return ChatCompletion(
            id=first.id,
            created=first.created,
            model=first.model,
            choices=[choice.whole(index) for index, choice in sorted(self._choices.items())],
            usage=usage,
            service_tier=first.service_tier,
            system_fingerprint=first.system_fingerprint,
        )


class _Choice:
    """What one choice has gained so far. A text that never came is None, one that came empty is empty."""

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = {}
        self._logprobs: dict[str, list[TokenLogprob]] = {}
        self._tool_calls: dict[int, _Call] = {}
        self._function_call: _Call | None = None
        self._finish_reason: FinishReason | None = None

    def add(self, choice: ChunkChoice) -> None:
        """Take what it gained."""
        self._add_texts(choice.delta)
        self._add_calls(choice.delta)
        if choice.logprobs is not None:
            self._add_logprobs(choice.logprobs)
        self._finish_reason = choice.finish_reason or self._finish_reason

    def _add_texts(self, delta: Delta) -> None:
        texts = {"content": delta.content, "refusal": delta.refusal, "reasoning_content": delta.reasoning_content}
        for name, text in texts.items():
            if isinstance(text, str):
                self._texts.setdefault(name, []).append(text)

    def _add_calls(self, delta: Delta) -> None:
        if not isinstance(delta.tool_calls, UnsetType):
            for call in delta.tool_calls:
                self._tool_calls.setdefault(call.index, _Call()).add(call)
        if not isinstance(delta.function_call, UnsetType):
            self._function_call = self._function_call or _Call()
            self._function_call.add_function(delta.function_call)

    def _add_logprobs(self, logprobs: ChoiceLogprobs) -> None:
        for name, entries in (("content", logprobs.content), ("refusal", logprobs.refusal)):
            if entries is not None:
                self._logprobs.setdefault(name, []).extend(entries)

    def whole(self, index: int) -> Choice:
        """Return the choice; it must have ended."""
        assert self._finish_reason is not None, f"choice {index} has not ended"
        return Choice(index, self._message(), self._all_logprobs(), self._finish_reason)

    def stored(self, index: int) -> StoredChoice:
        """Return the choice as it is stored, ended or not."""
        return stored_choice(index, self._message(), self._finish_reason, self._all_logprobs())

    def _all_logprobs(self) -> ChoiceLogprobs | None:
        if not self._logprobs:
            return None
        return ChoiceLogprobs(self._logprobs.get("content"), self._logprobs.get("refusal"))

    def _message(self) -> ChatCompletionMessage:
        reasoning = self._text("reasoning_content")
        calls: list[ToolCall] = [call.tool_call() for _, call in sorted(self._tool_calls.items())]
        # A stream may open with empty content; a message that only calls says null.
        content = (self._text("content") or None) if calls or self._function_call else self._text("content")
        return ChatCompletionMessage(
            content=content,
            refusal=self._text("refusal"),
            reasoning_content=UNSET if reasoning is None else reasoning,
            tool_calls=calls or UNSET,
            function_call=self._function_call.function() if self._function_call else UNSET,
        )

    def _text(self, name: str) -> str | None:
        return "".join(self._texts[name]) if name in self._texts else None


class _Call:
    """A tool call in pieces: id and name come once, the arguments or the input concatenate."""

    def __init__(self) -> None:
        self._id: str | UnsetType = UNSET
        self._name: str | UnsetType = UNSET
        self._custom = False
        self._text: list[str] = []

    def add(self, delta: ToolCallDelta) -> None:
        """Take the next piece."""
        if delta.id is not UNSET:
            self._id = delta.id
        if not isinstance(delta.function, UnsetType):
            self.add_function(delta.function)
        if not isinstance(delta.custom, UnsetType):
            self._custom = True
            self._add(delta.custom.name, delta.custom.input)

    def add_function(self, delta: FunctionCallDelta) -> None:
        """Take a piece of the function's part."""
        self._add(delta.name, delta.arguments)

    def _add(self, name: str | UnsetType, text: str | UnsetType) -> None:
        if name is not UNSET:
            self._name = name
        if not isinstance(text, UnsetType):
            self._text.append(text)

    def function(self) -> FunctionCall:
        """Return the call; its name must have come."""
        assert self._name is not UNSET, "a call without a name"
        return FunctionCall(self._name, "".join(self._text))

    def tool_call(self) -> ToolCall:
        """Return the call with its id, which must have come."""
        assert self._id is not UNSET, "a call without an id"
        function = self.function()
        if self._custom:
            return CustomToolCall(self._id, CustomCall(function.name, function.arguments))
        return FunctionToolCall(self._id, function)
