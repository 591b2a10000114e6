"""The requests whose grammars are being compiled. They are not in the scheduler's queue yet."""

from collections.abc import Iterator
from concurrent.futures import Future, wait
from typing import Protocol

from antiphon.engine.grammars.grammar import Matcher
from antiphon.engine.interface import Finished, FinishReason, GenerateRequest


class Compiler(Protocol):
    """Compiles grammars in a thread; see :class:`antiphon.engine.grammars.grammar.GrammarCompiler`."""

    def compile(self, grammar: str) -> "Future[Matcher]":
        """Start to compile a grammar, and return its future matcher."""

    def forget(self, grammar: str) -> None:
        """Drop a compiled grammar, so that it is compiled again next time."""

    def close(self) -> None:
        """End the thread."""


class Compilation:
    """A request whose grammar is being compiled, and the indices of its choices that were not aborted."""

    __slots__ = ("future", "indices", "request")

    def __init__(self, request: GenerateRequest, future: "Future[Matcher]") -> None:
        self.request = request
        self.future = future
        self.indices = list(range(request.n))


class Compilations:
    """The compilations by request id, in order of arrival."""

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
        """The number of choices that wait for their grammars."""
        return sum(len(entry.indices) for entry in self._entries.values())

    def add(self, request: GenerateRequest) -> None:
        """Start to compile a request's grammar."""
        self._entries[request.request_id] = Compilation(request, self._compiler.compile(request.grammar))

    def wait(self, timeout: float) -> None:
        """Wait at most ``timeout`` seconds until a compilation has ended."""
        wait([entry.future for entry in self._entries.values()], timeout, "FIRST_COMPLETED")

    def take(self) -> list[Compilation]:
        """Remove the compilations that have ended, with a matcher or an error, and return them."""
        done = {request_id: entry for request_id, entry in self._entries.items() if entry.future.done()}
        for request_id in done:
            del self._entries[request_id]
        return list(done.values())

    def end(self, request_id: str, index: int | None, reason: FinishReason, message: str = "") -> list[Finished]:
        """End one choice of a request, or all, and return the events; cancel the compilation if no choice is left."""
        entry = self._entries[request_id]
        events = end_choices(entry, index, reason, message)
        if not entry.indices:
            entry.future.cancel()
            del self._entries[request_id]
        return events


def end_choices(entry: Compilation, index: int | None, reason: FinishReason, message: str) -> list[Finished]:
    """Remove one choice of a request, or all, and return their terminal events."""
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
