"""A scripted upstream: a backend that speaks chunks and knows no tokens, for tests of everything above the backends.

It plays the scripts of :mod:`tests.scripted_engine`, as a server elsewhere would say them. Its counters have the same
names, so that one test may ask either.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence

from msgspec.structs import replace

from antiphon.backends.backend import AnswerPart, AnswerParts, BackendStatus, Call
from antiphon.engine.interface import Finished, Started, TokenEvent
from antiphon.errors import ServiceUnavailableError
from antiphon.protocol.responses import (
    ChatCompletionChunk,
    ChunkChoice,
    CompletionTokensDetails,
    CompletionUsage,
    Delta,
    PromptTokensDetails,
)
from antiphon.routing.abilities import ALL_FIELDS
from tests.scripted_engine import Hang, Item, Pause

UNKNOWN_TO_IT = frozenset({"logit_bias", "logprobs", "top_logprobs", "prediction"})


class ScriptedUpstream:
    """Plays one script for every request."""

    def __init__(self, script: Sequence[Item] = (), *, refusal: Exception | None = None) -> None:
        """``refusal`` is raised instead of the first chunk."""
        self._script = script
        self.refusal = refusal
        self.ready = True
        self.requests: list[Call] = []
        self.aborts: list[tuple[str, int | None]] = []
        self.ended: list[str] = []
        self.closed = 0

    @property
    def running(self) -> int:
        """Streams that are open now: 0 when nothing leaks."""
        return len(self.requests) - len(self.aborts) - len(self.ended)

    def status(self) -> BackendStatus:
        """Honour what needs no tokens."""
        return BackendStatus(
            state="ready" if self.ready else "unavailable", abilities=ALL_FIELDS - UNKNOWN_TO_IT, context=1024
        )

    async def start(self) -> None:
        """Be ready."""
        self.ready = True

    async def close(self) -> None:
        """Count the call."""
        self.ready = False
        self.closed += 1

    async def stream(self, call: Call) -> AnswerParts:
        """Play the script; a stream that is closed before its end records an abort."""
        if self.refusal is not None:
            raise self.refusal
        self.requests.append(call)
        whole = False
        try:
            async for chunks in self._chunks(call):
                whole = not chunks[-1].choices
                yield AnswerPart(chunks)
        except Exception:
            whole = True
            raise
        finally:
            if whole:
                self.ended.append(call.completion_id)
            else:
                self.aborts.append((call.completion_id, None))

    async def _chunks(self, call: Call) -> AsyncGenerator[list[ChatCompletionChunk], None]:
        left, begun = set(range(call.request.n or 1)), set[int]()
        counts: dict[int, int] = {}
        cached = 0
        for item in self._script:
            match item:
                case Exception():
                    raise item
                case Pause(seconds):
                    await asyncio.sleep(seconds)
                case Hang():
                    await asyncio.Event().wait()
                case Started():
                    cached = item.cached_tokens
                case TokenEvent() if item.index in left:
                    counts[item.index] = counts.get(item.index, 0) + len(item.token_ids)
                    delta = Delta(content=bytes(item.token_ids).decode())
                    first = [] if item.index in begun else [_chunk(call, item.index, Delta(role="assistant"))]
                    begun.add(item.index)
                    yield [*first, _chunk(call, item.index, delta)]
                case Finished() if item.reason == "abort":
                    raise ServiceUnavailableError("The upstream gave the request up.")
                case Finished() if item.index in left:
                    left.remove(item.index)
                    yield [_chunk(call, item.index, Delta(), item.reason)]
                    if not left:
                        yield [_usage(call, item.prompt_tokens, sum(counts.values()), cached)]
                        return


def _chunk(call: Call, index: int, delta: Delta, reason: str | None = None) -> ChatCompletionChunk:
    choice = ChunkChoice(index=index, delta=delta, finish_reason=reason)  # type: ignore[arg-type]
    return _whole(call, [choice])


def _whole(call: Call, choices: list[ChunkChoice]) -> ChatCompletionChunk:
    return ChatCompletionChunk(
        id=call.completion_id,
        created=call.created,
        model=call.request.model,
        service_tier="default",
        system_fingerprint="fp_upstream",
        choices=choices,
    )


def _usage(call: Call, prompt: int, completion: int, cached: int) -> ChatCompletionChunk:
    usage = CompletionUsage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion,
        prompt_tokens_details=PromptTokensDetails(cached_tokens=cached),
        completion_tokens_details=CompletionTokensDetails(),
    )
    return replace(_whole(call, []), usage=usage)
