"""Keeps the texts of an answer whose schema is not wholly enforced, and validates them when the answer has ended."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from msgspec import UNSET

from antiphon.backends.backend import Validity
from antiphon.protocol.responses import ChatCompletionChunk, ChunkChoice, FunctionCallDelta
from antiphon.rendering.unenforced import Unenforced

IsValid = Callable[[dict[str, Any], list[str]], Awaitable[bool | None]]
"""Validates finished texts; None: it cannot be found out."""


class AnswerValidity:
    """The content and the calls of each choice, as far as some keyword of their schema is not enforced."""

    def __init__(self, unenforced: Unenforced) -> None:
        self._unenforced = unenforced
        self._contents: defaultdict[int, list[str]] = defaultdict(list)
        self._calls: dict[tuple[int, int], tuple[str, list[str]]] = {}
        """The name and the pieces of the arguments, by the choice and the number of the call."""
        self._cut: set[int] = set()
        """The choices that ended before their text was complete."""

    def add(self, chunks: Iterable[ChatCompletionChunk]) -> None:
        """Keep the texts of chunks."""
        if self._unenforced.paths:
            for choice in (choice for chunk in chunks for choice in chunk.choices):
                self._add(choice)

    def _add(self, choice: ChunkChoice) -> None:
        delta = choice.delta
        if self._unenforced.content is not None and isinstance(delta.content, str):
            self._contents[choice.index].append(delta.content)
        for call in delta.tool_calls or ():
            if isinstance(call.function, FunctionCallDelta):
                self._add_call((choice.index, call.index), call.function)
        if isinstance(delta.function_call, FunctionCallDelta):
            self._add_call((choice.index, 0), delta.function_call)
        if choice.finish_reason not in {None, "stop", "tool_calls", "function_call"}:
            self._cut.add(choice.index)

    def _add_call(self, key: tuple[int, int], call: FunctionCallDelta) -> None:
        name = call.name if call.name is not UNSET else ""
        if name in self._unenforced.functions:
            self._calls.setdefault(key, (name, []))
        if key in self._calls and call.arguments is not UNSET:
            self._calls[key][1].append(call.arguments)

    async def judge(self, is_valid: IsValid) -> Validity | None:
        """Return whether the finished texts are valid; None if nothing had to be checked."""
        if not self._unenforced.paths:
            return None
        found = [await is_valid(schema, texts) for schema, texts in self._finished() if texts]
        return "invalid" if False in found else "unknown" if None in found else "valid"

    def _finished(self) -> Iterable[tuple[dict[str, Any], list[str]]]:
        if self._unenforced.content is not None:
            texts = ["".join(pieces) for index, pieces in self._contents.items() if index not in self._cut]
            yield self._unenforced.content, [text for text in texts if text]
        for name, schema in self._unenforced.functions.items():
            calls = [key for key, (called, _) in self._calls.items() if called == name and key[0] not in self._cut]
            yield schema, ["".join(self._calls[key][1]) for key in calls]
