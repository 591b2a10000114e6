"""Renders short conversations at once and everything else in a process with limits of time and memory.

What takes long, crashes or grows without bound are templates over long texts, tokenizers over long runs of one
character, and grammars. In a process of its own each costs its own request only, and stalls no stream.
"""

from typing import Final, Protocol

import msgspec

from antiphon.errors import APIError, InternalServerError, InvalidRequestError, RateLimitError, ServiceUnavailableError
from antiphon.isolation.fork_server import JobLimits
from antiphon.isolation.process_pool import JobLostError, PoolFullError, PoolLoad, PoolUnavailableError
from antiphon.protocol.requests import CreateChatCompletion
from antiphon.rendering.render_process import Outcome, Refused, RenderJob
from antiphon.rendering.renderer import Rendering

INLINE_BYTES: Final = 4096
"""JSON of a request that is rendered on the event loop at most, which takes about 2 ms with a quick vocabulary."""
INLINE_SECONDS: Final = 0.01
"""Seconds that calls of the tokenizer may take on the event loop for one request."""
LEAST_CALLS: Final = 10
"""Calls within those seconds below which nothing is rendered on the event loop."""
BYTES_A_CALL: Final = 13
"""Bytes of a text for which a call may be needed: what is cut inside USER_DEFINED tokens is tokenized in pieces."""
LEAST_BYTES: Final = 1000
"""JSON of a request with one short message, most of it fields that are null."""
RENDER_PROCESSES: Final = 2
MAX_WAITING_RENDERS: Final = 256
"""Requests that may wait for a process; one more is refused with 429."""
RENDER_SECONDS: Final = 20
"""Seconds of processor time that rendering a request may take; the request is refused when it takes more."""
RENDER_MEMORY: Final = 1 << 30
"""Bytes of memory that rendering a request may take; the request is refused when it takes more."""
RENDER_STACK: Final = 1 << 29
"""Bytes of stack: llama.cpp's regular expressions take about 300 for each character of a run."""
LIMITS: Final = JobLimits(cpu_seconds=RENDER_SECONDS, memory=RENDER_MEMORY, stack=RENDER_STACK)

_JOBS: Final = msgspec.json.Encoder()
_OUTCOMES: Final = msgspec.json.Decoder[Outcome](Outcome)
_LOST: Final = {
    "time": f"needs more than the {RENDER_SECONDS} s of processor time",
    "memory": f"needs more than the {RENDER_MEMORY >> 20} MiB of memory",
    "crash": "needs more than the memory",
}


class InlineRenderer(Protocol):
    """Renders in this process."""

    def render(self, request: CreateChatCompletion, request_id: str, cache_salt: str) -> Rendering:
        """Raise ``InvalidRequestError`` for what this model cannot do."""


class Pool(Protocol):
    """Does jobs in other processes; see :class:`antiphon.isolation.process_pool.ProcessPool`."""

    @property
    def load(self) -> PoolLoad:
        """The jobs that run and wait now."""

    async def run(self, payload: bytes) -> bytes:
        """Return the result of a job."""


class IsolatedRenderer:
    """One model's renderer, here and in other processes."""

    def __init__(self, renderer: InlineRenderer, pool: Pool, *, inline: int = INLINE_BYTES) -> None:
        """Hold both; requests of more than ``inline`` bytes go to the pool, see :func:`inline_bytes`."""
        self._renderer = renderer
        self._inline = inline
        self._pool = pool

    @property
    def load(self) -> PoolLoad:
        """The requests that are prepared in processes, and that wait for one."""
        return self._pool.load

    async def render(self, request: CreateChatCompletion, request_id: str, cache_salt: str) -> Rendering:
        """Return the work for the engine.

        Raises ``InvalidRequestError`` for what this model cannot do, and for what takes more than the limits,
        ``RateLimitError`` when too many wait and ``ServiceUnavailableError`` when no process can be started. When the
        caller is cancelled, the process is killed.
        """
        job = _JOBS.encode(RenderJob(request=request, request_id=request_id, cache_salt=cache_salt))
        if len(job) <= self._inline and not _has_grammar(request):
            return self._renderer.render(request, request_id, cache_salt)
        try:
            outcome: Outcome = _OUTCOMES.decode(await self._pool.run(job))
        except JobLostError as error:
            raise _refusal(error) from error
        except PoolFullError as error:
            raise RateLimitError("Too many long conversations are waiting.") from error
        except PoolUnavailableError as error:
            raise ServiceUnavailableError("Requests cannot be prepared now.") from error
        if isinstance(outcome, Refused):
            raise InvalidRequestError(outcome.message, param=outcome.param, code=outcome.code)
        if not _answers(outcome.rendering, request, request_id, cache_salt):
            raise InternalServerError("The server failed to prepare the request.")
        return outcome.rendering


def inline_bytes(call_seconds: float) -> int:
    """Return the bytes of JSON of the longest request that is rendered on the event loop.

    ``call_seconds`` is what tokenizing a letter takes: llama.cpp compiles the rules of some vocabularies anew for each
    text, and 3,800 bytes of USER_DEFINED tokens took 0.5 s then. Within this length they take 0.05 s at most. With the
    slowest vocabularies no request is rendered on the loop.
    """
    calls = INLINE_SECONDS / max(call_seconds, INLINE_SECONDS / INLINE_BYTES)
    return 0 if calls < LEAST_CALLS else min(INLINE_BYTES, LEAST_BYTES + int(BYTES_A_CALL * calls))


def _answers(rendering: Rendering, request: CreateChatCompletion, request_id: str, cache_salt: str) -> bool:
    """Return whether the rendering is of this request. A process that has worked on hostile bytes may send anything.

    The id, the number of choices and the cache salt must be those of the request; the rest affects its own answer only.
    """
    generate = rendering.generate
    owner = generate.cache_salt.partition("\0")[0]
    return (generate.request_id, generate.n, owner) == (request_id, request.n or 1, cache_salt)


def _has_grammar(request: CreateChatCompletion) -> bool:
    return any(field is not None for field in (request.tools, request.functions, request.response_format))


def _refusal(error: JobLostError) -> APIError:
    if error.cause == "fault" or not error.stage:
        return InternalServerError("The server failed to prepare the request.")
    message = f"Invalid value for '{error.stage}': preparing it {_LOST[error.cause]} that one request may take."
    return InvalidRequestError(message, param=error.stage, code="invalid_value")
