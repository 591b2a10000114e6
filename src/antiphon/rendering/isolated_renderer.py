"""Renders requests in processes with limits of time and memory.

A foreign template may take any time and memory over any text; tokenizers do so over long runs of one character, and
grammars by their nature. In a separate process each affects its own request only and blocks no stream.
"""

import signal
from typing import Any, Final, Protocol

import msgspec

from antiphon.errors import APIError, InternalServerError, InvalidRequestError, RateLimitError, ServiceUnavailableError
from antiphon.isolation.fork_client import PreloadedForkServer, PreparationError
from antiphon.isolation.process_pool import JobLostError, PoolFullError, PoolLoad, PoolUnavailableError, ProcessPool
from antiphon.protocol.rendering_extensions import FORM_FIELDS
from antiphon.protocol.requests import CreateChatCompletion
from antiphon.rendering.render_job import (
    Checked,
    CheckJob,
    Job,
    Outcome,
    Refused,
    Rendered,
    Rendering,
    RenderJob,
    TokenJob,
    Tokens,
)
from antiphon.rendering.renderer_settings import (
    PROBE_SECONDS,
    RENDER_MEMORY,
    RENDER_SECONDS,
    RendererSettings,
    fork_server_settings,
)

SHORT_BYTES: Final = 4096
"""Bytes of JSON of a short request, at most; rendering takes about 2 ms with a fast vocabulary."""
SHORT_PROCESSES: Final = 4
"""Processes for short requests."""
MAX_WAITING_SHORT: Final = 4096
"""Short requests that may wait for a process; one more is refused with 429."""
RENDER_PROCESSES: Final = 2
"""Processes for all other requests."""
MAX_WAITING_RENDERS: Final = 256
"""Other requests that may wait for a process; one more is refused with 429."""

_JOBS: Final = msgspec.json.Encoder()
_OUTCOMES: Final = msgspec.json.Decoder[Outcome](Outcome)
_LOST: Final = {
    "time": f"needs more than the {RENDER_SECONDS} s of processor time",
    "memory": f"needs more than the {RENDER_MEMORY >> 20} MiB of memory",
    "crash": "needs more than the memory",
}


class Pool(Protocol):
    """Does jobs in other processes; see :class:`antiphon.isolation.process_pool.ProcessPool`."""

    @property
    def load(self) -> PoolLoad:
        """The jobs that run and wait now."""

    async def prepared(self) -> None:
        """Wait for the handler."""

    async def run(self, payload: bytes, *, short: bool = False) -> bytes:
        """Return the result of a job."""


class UnusableTemplateError(Exception):
    """The model's chat template cannot be used: the reason, which the operator reads."""


def open_pool(settings: RendererSettings, preloaded: PreloadedForkServer | None = None) -> ProcessPool:
    """Return the pool of one model's renderers; its start takes the preloaded fork server if the settings match."""
    return ProcessPool(
        fork_server_settings(settings),
        size=RENDER_PROCESSES,
        max_waiting=MAX_WAITING_RENDERS,
        short=SHORT_PROCESSES,
        max_waiting_short=MAX_WAITING_SHORT,
        preloaded=preloaded,
    )


async def prepared(pool: Pool) -> None:
    """Wait until the pool can render.

    Raises :class:`UnusableTemplateError` and :class:`antiphon.isolation.process_pool.PoolUnavailableError`.
    """
    try:
        await pool.prepared()
    except PreparationError as error:
        if error.status == -signal.SIGXCPU:
            message = f"The chat template takes more than {PROBE_SECONDS} s to render a few words."
            raise UnusableTemplateError(message) from error
        if not error.reason:
            raise PoolUnavailableError from error
        raise UnusableTemplateError(error.reason) from error


class IsolatedRenderer:
    """Renders for one model in other processes."""

    def __init__(self, pool: Pool, max_model_len: int) -> None:
        """Hold the pool of :func:`open_pool` and the tokens of the context."""
        self._pool = pool
        self._max_model_len = max_model_len

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
        job = RenderJob(
            request=request, request_id=request_id, cache_salt=cache_salt, max_model_len=self._max_model_len
        )
        outcome = await self._outcome(job, short=not _has_grammar(request))
        if not isinstance(outcome, Rendered) or not _answers(outcome.rendering, job):
            raise InternalServerError("The server failed to prepare the request.")
        return outcome.rendering

    async def is_valid(self, schema: dict[str, Any], texts: list[str]) -> bool | None:
        """Return whether all finished texts of an answer are valid; None if that cannot be found out.

        Too much work, too many waiting jobs and a schema that the validator does not take are such cases.
        """
        try:
            outcome = await self._outcome(CheckJob(schema=schema, texts=texts), short=False)
        except APIError:
            return None
        return outcome.valid if isinstance(outcome, Checked) else None

    @property
    def max_model_len(self) -> int:
        """Tokens of a prompt and its answer together at most."""
        return self._max_model_len

    async def convert(self, job: TokenJob) -> Tokens:
        """Return the ids of a text, or the text of ids. Raises as :meth:`render` does."""
        outcome = await self._outcome(job, short=True)
        if not isinstance(outcome, Tokens):
            raise InternalServerError("The server failed to prepare the request.")
        return outcome

    async def _outcome(self, job: Job, *, short: bool) -> Outcome:
        """Return the result of the job. ``short``: the job is short unless its JSON is long."""
        payload = _JOBS.encode(job)
        short = short and len(payload) <= SHORT_BYTES
        try:
            outcome: Outcome = _OUTCOMES.decode(await self._pool.run(payload, short=short))
        except JobLostError as error:
            raise _refusal(error, job) from error
        except PoolFullError as error:
            kind = "requests" if short else "long conversations"
            raise RateLimitError(f"Too many {kind} are waiting.") from error
        except PoolUnavailableError as error:
            raise ServiceUnavailableError("Requests cannot be prepared now.") from error
        if isinstance(outcome, Refused):
            raise InvalidRequestError(outcome.message, param=outcome.param, code=outcome.code)
        return outcome


def _answers(rendering: Rendering, job: RenderJob) -> bool:
    """Return whether the rendering is of this request. A process that has worked on hostile bytes may send anything.

    The id, the number of choices and the cache salt must be those of the request; the rest affects its own answer only.
    """
    generate = rendering.generate
    owner = generate.cache_salt.partition("\0")[0]
    return (generate.request_id, generate.n, owner) == (job.request_id, job.request.n or 1, job.cache_salt)


def _has_grammar(request: CreateChatCompletion) -> bool:
    return any(getattr(request, name) is not None for name in ("tools", "functions", *FORM_FIELDS))


def _refusal(error: JobLostError, job: Job) -> APIError:
    if error.cause == "fault":
        return InternalServerError("The server failed to prepare the request.")
    field = error.stage or _first_field(job)
    message = f"Invalid value for '{field}': preparing it {_LOST[error.cause]} that one request may take."
    return InvalidRequestError(message, param=field, code="invalid_value")


def _first_field(job: Job) -> str:
    """Return the field that a job prepares before it reports a stage."""
    if isinstance(job, TokenJob):
        return "content" if job.ids is None else "tokens"
    return "messages"
