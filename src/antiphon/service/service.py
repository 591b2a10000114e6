"""Routes, charges, stores and logs one request, even if the client disconnects.

An answer is a context manager. At its end the backend's stream is closed, a partial answer is stored, the rate limits
are settled and one line is logged, in this order and exactly once.
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
from antiphon.service.idempotent_requests import IdempotentRequest, idempotent_request
from antiphon.service.recorder import Recorder
from antiphon.service.records import RequestRecord, RequestStats, log_request
from antiphon.service.request_metrics import RequestMetrics
from antiphon.service.storage import Storage
from antiphon.service.token_operations import ModelTokens, TokenOperations
from antiphon.stages.stage import Stage, through_stages
from antiphon.store.completions import CompletionStore
from antiphon.store.keys import Scope
from antiphon.telemetry.metrics import Metrics
from antiphon.telemetry.spans import current_span

ANONYMOUS = Caller()
"""The caller on a server without keys, without a request id."""
CUT_OFF = "The server is shutting down, and the answer did not end in the time that was left."

logger = structlog.get_logger(__name__)


class Clocks(Struct, frozen=True, kw_only=True):
    """The sources of times, ids and random bytes."""

    clock: Callable[[], float] = time.time
    """Returns Unix seconds."""
    timer: Callable[[], float] = time.perf_counter
    """Returns monotonic seconds."""
    ids: Callable[[], str] = new_completion_id
    random_bytes: Callable[[int], bytes] = os.urandom
    """Returns that many bytes."""


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
        tokens: Mapping[str, ModelTokens] | None = None,
        clocks: Clocks = CLOCKS,
        log: Callable[[RequestRecord], None] = log_request,
    ) -> None:
        """Without ``storage``, nothing is stored or limited; without ``access``, every caller is the default project.

        ``stages`` change every answer, the outermost first. ``engines`` has the counters of models on this machine,
        ``tokens`` their vocabularies.
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
        """The memory of all collected answers."""
        self.tokens = TokenOperations(tokens or {}, storage.limiter if storage else None, clocks.ids)
        """The routes about tokens."""
        self._created = int(clocks.clock())
        self.draining = False
        """Whether the server is stopping: running requests may end, new ones are refused."""
        self._closed = False

    @property
    def router(self) -> Router:
        """The backends."""
        return self._router

    @property
    def metrics(self) -> Metrics:
        """The metrics of the service."""
        return self._request_metrics.metrics

    @property
    def ready(self) -> bool:
        """Whether every model accepts requests."""
        return self._router.ready

    def health(self) -> Health:
        """Return the health of the server now, without waiting."""
        return assess(
            self._router,
            self._storage,
            self._access,
            engines=self._engines,
            draining=self.draining,
            version=__version__,
        )

    def drain(self) -> None:
        """Refuse new requests from now on; running requests go on."""
        self.draining = True

    async def start(self) -> None:
        """Start all models. Raises ``ServiceUnavailableError``."""
        await self._router.start()
        self._created = int(self._clocks.clock())

    async def close(self) -> None:
        """Close the models. Answers that still run end in the error :data:`CUT_OFF`."""
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
        """Return the caller of a request. Raises as :meth:`antiphon.service.access.Access.authenticate` does."""
        if self._access is None:
            return Caller(request_id=request_id)
        return Caller(principal=await self._access.authenticate(credentials, scope), request_id=request_id)

    def idempotent_request(
        self, caller: Caller, key: str | None, body: bytes
    ) -> AbstractAsyncContextManager[IdempotentRequest]:
        """Open an idempotent request; see :func:`antiphon.service.idempotent_requests.idempotent_request`."""
        return idempotent_request(self._storage.idempotency if self._storage else None, caller, key, body)

    async def create(self, request: CreateChatCompletion, caller: Caller = ANONYMOUS) -> ChatCompletion:
        """Return the whole answer. A cancellation aborts the request. Raises ``APIError``."""
        async with self.answer(msgspec.structs.replace(request, stream=False), caller) as answer:
            return await answer.completion()

    async def stream(
        self, request: CreateChatCompletion, caller: Caller = ANONYMOUS
    ) -> AsyncGenerator[ChatCompletionChunk, None]:
        """Yield the answer in chunks. Closing the generator aborts the request. Raises as ``Answer.stream`` does."""
        async with self.answer(request, caller) as answer, aclosing(answer.stream()) as batches:
            async for chunks in batches:
                for chunk in chunks:
                    yield chunk

    @asynccontextmanager
    async def answer(
        self, request: CreateChatCompletion, caller: Caller = ANONYMOUS, share: AnswerShare | None = None
    ) -> AsyncGenerator[Answer, None]:
        """Admit a request and open its answer; the end of the block aborts a running answer. Raises ``APIError``.

        A collected answer counts in the caller's ``share``, or else in a share that ends with the block.
        """
        with nullcontext(share) if share is not None else self.answer_memory.share() as answer_share:
            async with self._answer(request, caller, answer_share) as answer:
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
        stats = RequestStats(self._clocks.timer, partial(self._request_metrics.record_first_chunk, request.model))
        with self._logged(call, caller, stats):
            self._router.candidates(request)  # raises before anything is charged
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
                admitted(limiter, call, caller, stats) as rate_limits,
                _store_partial(recorder, stats) if recorder and request.stream else nullcontext(),
                aclosing(_observed(parts, stats, recorder, self._is_shutdown_error)) as batches,
            ):
                yield Answer(
                    request,
                    batches,
                    rate_limits=rate_limits,
                    unenforced=lambda: stats.unenforced,
                    collector=collector,
                    random_bytes=self._clocks.random_bytes,
                )

    async def list_completions(self, query: CompletionQuery, caller: Caller = ANONYMOUS) -> CompletionList:
        """Return a page of the caller's stored completions. Raises NotFoundError for an unknown ``after``."""
        return await self._completions().list(caller.project, query)

    async def get_completion(self, completion_id: str, caller: Caller = ANONYMOUS) -> StoredCompletion:
        """Return a stored completion. Raises NotFoundError."""
        return await self._completions().get(caller.project, completion_id)

    async def update_completion(
        self, completion_id: str, metadata: Metadata | None, caller: Caller = ANONYMOUS
    ) -> StoredCompletion:
        """Replace a stored completion's metadata. Raises NotFoundError."""
        return await self._completions().update_metadata(caller.project, completion_id, metadata)

    async def delete_completion(self, completion_id: str, caller: Caller = ANONYMOUS) -> CompletionDeleted:
        """Delete a stored completion. Raises NotFoundError."""
        return await self._completions().delete(caller.project, completion_id)

    async def list_messages(self, completion_id: str, query: PageQuery, caller: Caller = ANONYMOUS) -> MessageList:
        """Return a page of the messages of a stored completion's request. Raises NotFoundError."""
        return await self._completions().messages(caller.project, completion_id, query)

    def _is_shutdown_error(self, error: Exception) -> bool:
        """Return whether ``error`` is an engine's error that the shutdown of the server caused."""
        database = isinstance(error, DatabaseUnavailableError)
        return self._closed and isinstance(error, ServiceUnavailableError) and not database

    def _completions(self, param: str | None = None) -> CompletionStore:
        if self._storage is None:
            raise InvalidRequestError("This server keeps no completions.", param=param)
        return self._storage.completions

    @contextmanager
    def _logged(self, call: Call, caller: Caller, stats: RequestStats) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            stats.fail(error)
            raise
        finally:
            record = stats.record(call, caller.project)
            self._request_metrics.record_end(record)
            self._log(record)
            if (span := current_span()) is not None:
                span.record(chat_span(call, record))


async def _collected(parts: AnswerParts, collector: Collector, share: AnswerShare) -> AnswerParts:
    """Add the chunks of each part to ``collector``, then yield the part. Raises as ``AnswerShare.grow`` does."""
    async with aclosing(parts):
        async for part in parts:
            share.grow(sum(map(collector.add, part.chunks)))
            yield part


async def _observed(
    parts: AnswerParts,
    stats: RequestStats,
    recorder: Recorder | None,
    is_shutdown_error: Callable[[Exception], bool],
) -> AsyncGenerator[list[ChatCompletionChunk], None]:
    """Observe the parts and yield their chunks. Commit a stored answer before the stream ends.

    Raises :data:`CUT_OFF` instead of a shutdown error.
    """
    try:
        async with aclosing(parts):
            async for part in parts:
                stats.add(part)
                if part.chunks:
                    yield part.chunks
        if recorder is not None:
            await recorder.save("completed")
    except Exception as error:
        stats.fail(error)
        if is_shutdown_error(error):
            raise ServiceUnavailableError(CUT_OFF, headers={"connection": "close"}) from error
        raise


@asynccontextmanager
async def _store_partial(recorder: Recorder, stats: RequestStats) -> AsyncGenerator[None, None]:
    """Store the chunks of a stream that broke off in the block."""
    try:
        yield
    finally:
        if not (recorder.saved or recorder.empty):
            try:
                await recorder.save(stats.outcome)
            except ServiceUnavailableError as failure:
                logger.warning("partial_answer_not_stored", error=failure.message)
