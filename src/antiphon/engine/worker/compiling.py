"""The requests whose grammars are being compiled: they wait beside the scheduler's queue until that has ended."""

from collections.abc import Iterator
from concurrent.futures import Future, wait
from typing import Protocol

from antiphon.engine.grammars.grammar import Matcher
from antiphon.engine.interface import Finished, FinishReason, GenerateRequest


class Compiler(Protocol):
    """Compiles grammars beside the steps; see :class:`antiphon.engine.grammars.grammar.GrammarCompiler`."""

    def compile(self, grammar: str) -> "Future[Matcher]":
        """Start compiling."""

    def forget(self, grammar: str) -> None:
        """Compile a text anew when it comes again."""

    def close(self) -> None:
        """End."""


class Compilation:
    """A request whose grammar is being compiled, and its choices that were not aborted meanwhile."""

    __slots__ = ("future", "indices", "request")

    def __init__(self, request: GenerateRequest, future: "Future[Matcher]") -> None:
        self.request = request
        self.future = future
        self.indices = list(range(request.n))


class Compilations:
    """By request id, in order of arrival."""

    def __init__(self, compiler: Compiler) -> None:
        self._compiler = compiler
        self._entries: dict[str, Compilation] = {}

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._entries))

    def __bool__(self) -> bool:
        return bool(self._entries)

    @property
    def choices(self) -> int:
        """How many choices wait for their grammars."""
        return sum(len(entry.indices) for entry in self._entries.values())

    def add(self, request: GenerateRequest) -> None:
        """Start to compile a request's grammar."""
        self._entries[request.request_id] = Compilation(request, self._compiler.compile(request.grammar))

    def wait(self, timeout: float) -> None:
        """Wait until one of the compilations has ended, ``timeout`` seconds at most."""
        wait([entry.future for entry in self._entries.values()], timeout, "FIRST_COMPLETED")

    def take(self) -> list[Compilation]:
        """Take out the requests whose compilation has ended, with a matcher or with an error."""
        done = {request_id: entry for request_id, entry in self._entries.items() if entry.future.done()}
        for request_id in done:
            del self._entries[request_id]
        return list(done.values())

    def end(self, request_id: str, index: int | None, reason: FinishReason, message: str = "") -> list[Finished]:
        """End a choice, or all, of a request that never ran. Cancel its compilation when no choice is left."""
        entry = self._entries[request_id]
        events = end_choices(entry, index, reason, message)
        if not entry.indices:
            entry.future.cancel()
            del self._entries[request_id]
        return events


def end_choices(entry: Compilation, index: int | None, reason: FinishReason, message: str) -> list[Finished]:
    """Take choices of a request out, each with its terminal event."""
    ended = [each for each in entry.indices if index in (None, each)]
    entry.indices = [each for each in entry.indices if each not in ended]
    request = entry.request
    return [
        Finished(
            request_id=request.request_id,
            index=each,
            reason=reason,
            prompt_tokens=len(request.prompt_ids),
            message=message,
        )
        for each in ended
    ]
