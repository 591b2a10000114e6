"""The life of a request: who answers it, what is charged, logged and kept of it, whatever happens to its reader.

Knows nothing of HTTP, tokens or SQL. An answer is a block: at its end the backend's stream is closed, what is to be
kept is kept, the limits are settled and one line is logged, in this order and exactly once.
"""

import os
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, contextmanager, nullcontext
from functools import partial

import msgspec
import structlog
from msgspec import Struct

from antiphon import __version__
from antiphon.assembly.collector import Collector
from antiphon.backends.backend import AnswerParts, Call
from antiphon.backends.engine_counters import EngineCounters
from antiphon.errors import DatabaseUnavailableError, InvalidRequestError, ServiceUnavailableError
from antiphon.protocol.requests import CreateChatCompletion, Metadata
from antiphon.protocol.responses import ChatCompletion, ChatCompletionChunk, Model, ModelList
from antiphon.protocol.stored import CompletionDeleted, CompletionList, MessageList, StoredCompletion
from antiphon.protocol.stored_queries import CompletionQuery, PageQuery
from antiphon.routing.router import Router
from antiphon.service.access import Access, Caller, Credentials
from antiphon.service.admission import admitted
from antiphon.service.answer_memory import AnswerMemory, AnswerShare
from antiphon.service.answers import Answer, new_completion_id
from antiphon.service.chat_spans import chat_span
from antiphon.service.health import Health, assess
from antiphon.service.recorder import Recorder
from antiphon.service.records import Observation, RequestRecord, log_request
from antiphon.service.repeats import Repeat, answered_once
from antiphon.service.request_metrics import RequestMetrics
from antiphon.service.storage import Storage
from antiphon.stages.stage import Stage, through_stages
from antiphon.store.completions import CompletionStore
from antiphon.store.keys import Scope
from antiphon.telemetry.metrics import Metrics
from antiphon.telemetry.spans import current_span

NOBODY = Caller()
"""The caller of a server without keys, where no request's id is known."""
CUT_OFF = "The server is shutting down, and the answer did not end in the time that was left."

logger = structlog.get_logger(__name__)


class Clocks(Struct, frozen=True, kw_only=True):
    """Where a service takes times, ids and random bytes from."""

    clock: Callable[[], float] = time.time
    """Gives Unix seconds."""
    timer: Callable[[], float] = time.perf_counter
    """Gives seconds from any start."""
    ids: Callable[[], str] = new_completion_id
    random_bytes: Callable[[int], bytes] = os.urandom
    """Gives that many bytes."""


CLOCKS = Clocks()


class Service:
    """The use cases of the API over a router and a storage."""

    def __init__(
        self,
        router: Router,
        storage: Storage | None = None,
        *,
        access: Access | None = None,
        stages: Sequence[Stage] = (),
        engines: Mapping[str, EngineCounters] | None = None,
        clocks: Clocks = CLOCKS,
        log: Callable[[RequestRecord], None] = log_request,
    ) -> None:
        """Without a storage nothing is kept or limited, without ``access`` everybody is the default project.

        ``stages`` surround every answer, the outermost first. ``engines`` has the counters of models on this machine.
        """
        self._router = router
        self._storage = storage
        self._access = access
        self._stages = tuple(stages)
        self._engines = dict(engines or {})
        self._clocks = clocks
        self._log = log
        self._request_metrics = RequestMetrics(router, self._engines)
        self.answer_memory = AnswerMemory()
        """Counts the answers that are collected."""
        self._created = int(clocks.clock())
        self.draining = False
        """Whether the server is stopping: what runs may end, nothing new is taken."""
        self._closed = False

    @property
    def router(self) -> Router:
        """The backends, for their counters."""
        return self._router

    @property
    def metrics(self) -> Metrics:
        """What is counted and measured, of no project in particular."""
        return self._request_metrics.metrics

    @property
    def ready(self) -> bool:
        """Whether requests are taken."""
        return self._router.ready

    def health(self) -> Health:
        """Say what can be done now, and why not all of it; never waits."""
        return assess(
            self._router,
            self._storage,
            self._access,
            engines=self._engines,
            draining=self.draining,
            version=__version__,
        )

    def drain(self) -> None:
        """Take no new requests from now on; those that run go on."""
        self.draining = True

    async def start(self) -> None:
        """Make all models ready. Raises ``ServiceUnavailableError``."""
        await self._router.start()
        self._created = int(self._clocks.clock())

    async def close(self) -> None:
        """Release the models. What still runs ends in an error that says so, whatever becomes of the engine."""
        self._closed = True
        await self._router.close()

    def models(self) -> ModelList:
        """List the served models."""
        return ModelList(data=[self.model(name) for name in self._router])

    def model(self, name: str) -> Model:
        """Return one served model. Raises ``ModelNotFoundError``."""
        status = self._router.status(name)
        return Model(
            id=name,
            created=self._created,
            context_length=status.context,
            input_modalities=list(status.modalities),
        )

    async def authenticate(self, credentials: Credentials, scope: Scope, *, request_id: str = "") -> Caller:
        """Say who sends a request. Raises AuthenticationError and PermissionDeniedError."""
        if self._access is None:
            return Caller(request_id=request_id)
        return Caller(principal=await self._access.authenticate(credentials, scope), request_id=request_id)

    def answered_once(self, caller: Caller, key: str | None, body: bytes) -> AbstractAsyncContextManager[Repeat]:
        """Say whether a request under an Idempotency-Key was answered before; see :func:`repeats.answered_once`."""
        return answered_once(self._storage.idempotency if self._storage else None, caller, key, body)

    async def create(self, request: CreateChatCompletion, caller: Caller = NOBODY) -> ChatCompletion:
        """Answer as a whole; cancelling the call aborts the request. Raises ``APIError``."""
        async with self.answer(msgspec.structs.replace(request, stream=False), caller) as answer:
            return await answer.completion()

    async def stream(
        self, request: CreateChatCompletion, caller: Caller = NOBODY
    ) -> AsyncGenerator[ChatCompletionChunk, None]:
        """Answer in chunks; closing the generator aborts the request. Raises ``APIError``, see ``Answer.stream``."""
        async with self.answer(request, caller) as answer, aclosing(answer.stream()) as batches:
            async for chunks in batches:
                for chunk in chunks:
                    yield chunk

    @asynccontextmanager
    async def answer(
        self, request: CreateChatCompletion, caller: Caller = NOBODY, share: AnswerShare | None = None
    ) -> AsyncGenerator[Answer, None]:
        """Let a request in and give its answer; the end of the block aborts what has not ended. Raises ``APIError``.

        What is collected counts in ``share``, for longer than the block lasts, or else for as long.
        """
        with nullcontext(share) if share is not None else self.answer_memory.share() as counted:
            async with self._answer(request, caller, counted) as answer:
                yield answer

    @asynccontextmanager
    async def _answer(
        self, request: CreateChatCompletion, caller: Caller, share: AnswerShare
    ) -> AsyncGenerator[Answer, None]:
        call = Call(
            completion_id=self._clocks.ids(),
            created=int(self._clocks.clock()),
            request=request,
            cache_salt=caller.project,
        )
        observation = Observation(self._clocks.timer, partial(self._request_metrics.began, request.model))
        with self._logged(call, caller, observation):
            self._router.candidates(request)  # refuses what no backend can answer before anything is charged
            collector = Collector() if request.store or not request.stream else None
            recorder = (
                Recorder(self._completions("store"), call, caller, collector) if request.store and collector else None
            )
            if recorder and self._storage:
                await self._storage.check()
            limiter = self._storage.limiter if self._storage else None
            parts = through_stages(self._stages, call, self._router.stream)
            if collector is not None:
                parts = _collected(parts, collector, share)
            async with (
                admitted(limiter, call, caller, observation) as rate_limits,
                _kept(recorder, observation) if recorder and request.stream else nullcontext(),
                aclosing(_watched(parts, observation, recorder, self._cuts_off)) as watched,
            ):
                yield Answer(
                    request,
                    watched,
                    rate_limits=rate_limits,
                    collector=collector,
                    random_bytes=self._clocks.random_bytes,
                )

    async def list_completions(self, query: CompletionQuery, caller: Caller = NOBODY) -> CompletionList:
        """Return a page of the caller's stored completions. Raises NotFoundError for an unknown ``after``."""
        return await self._completions().list(caller.project, query)

    async def get_completion(self, completion_id: str, caller: Caller = NOBODY) -> StoredCompletion:
        """Return a stored completion. Raises NotFoundError."""
        return await self._completions().get(caller.project, completion_id)

    async def update_completion(
        self, completion_id: str, metadata: Metadata | None, caller: Caller = NOBODY
    ) -> StoredCompletion:
        """Replace a stored completion's metadata. Raises NotFoundError."""
        return await self._completions().update_metadata(caller.project, completion_id, metadata)

    async def delete_completion(self, completion_id: str, caller: Caller = NOBODY) -> CompletionDeleted:
        """Delete a stored completion. Raises NotFoundError."""
        return await self._completions().delete(caller.project, completion_id)

    async def list_messages(self, completion_id: str, query: PageQuery, caller: Caller = NOBODY) -> MessageList:
        """Return a page of the messages that a stored completion answers. Raises NotFoundError."""
        return await self._completions().messages(caller.project, completion_id, query)

    def _cuts_off(self, error: Exception) -> bool:
        """Say whether ``error`` ended an answer because the server ends: what engines say of it explains nothing."""
        database = isinstance(error, DatabaseUnavailableError)
        return self._closed and isinstance(error, ServiceUnavailableError) and not database

    def _completions(self, param: str | None = None) -> CompletionStore:
        if self._storage is None:
            raise InvalidRequestError("This server keeps no completions.", param=param)
        return self._storage.completions

    @contextmanager
    def _logged(self, call: Call, caller: Caller, observation: Observation) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            observation.failed(error)
            raise
        finally:
            record = observation.record(call, caller.project)
            self._request_metrics.finished(record)
            self._log(record)
            if (span := current_span()) is not None:
                span.record(chat_span(call, record))


async def _collected(parts: AnswerParts, collector: Collector, share: AnswerShare) -> AnswerParts:
    """Pass the parts on after ``collector`` has gained their chunks. Raises what ``share`` raises when it is full."""
    async with aclosing(parts):
        async for part in parts:
            share.grow(sum(map(collector.add, part.chunks)))
            yield part


async def _watched(
    parts: AnswerParts,
    observation: Observation,
    recorder: Recorder | None,
    cuts_off: Callable[[Exception], bool],
) -> AsyncGenerator[list[ChatCompletionChunk], None]:
    """Observe the parts and yield their chunks. Commits a stored answer before the stream ends.

    Raises :data:`CUT_OFF` instead of an error that ``cuts_off`` attributes to the end of the server.
    """
    try:
        async with aclosing(parts):
            async for part in parts:
                observation.observe(part)
                if part.chunks:
                    yield part.chunks
        if recorder is not None:
            await recorder.save("completed")
    except Exception as error:
        observation.failed(error)
        if cuts_off(error):
            raise ServiceUnavailableError(CUT_OFF, headers={"connection": "close"}) from error
        raise


@asynccontextmanager
async def _kept(recorder: Recorder, observation: Observation) -> AsyncGenerator[None, None]:
    """Store a stream that broke off as far as it got."""
    try:
        yield
    finally:
        if not (recorder.saved or recorder.empty):
            try:
                await recorder.save(observation.outcome)
            except ServiceUnavailableError as failure:
                logger.warning("partial_answer_not_stored", error=failure.message)
