"""The engine's client: sends requests to the worker and distributes its events to the requests' streams.

Invariant: a request is registered from its sending until its last choice finishes, its generator is closed or the
worker is lost, whichever comes first. So every generator ends in one Finished per choice or in one exception.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

from antiphon.engine.host.latencies import Latencies
from antiphon.engine.host.launcher import ProcessWorker, ThreadWorker
from antiphon.engine.host.supervisor import Supervisor, Timeouts
from antiphon.engine.interface import (
    Abort,
    EngineOptions,
    EngineReport,
    EngineStats,
    Finished,
    GenerateRequest,
    ModelInfo,
    Started,
    StreamEvent,
)
from antiphon.engine.worker.worker_process import CORE_FACTORY, Start, start_process
from antiphon.errors import APIError, RateLimitError, RequestTimeoutError, ServiceUnavailableError

MAX_UNREAD = 32_768
"""Events of one request that may wait for its consumer: about 10 MB, or 60 MB with 20 logprobs each."""
EVENTS_PER_TURN = 64
"""Events of one request that are passed on before others get a turn of the event loop."""


class Engine(Protocol):
    """The interface of an engine for a local backend."""

    @property
    def info(self) -> ModelInfo | None:
        """The loaded model, or None before the engine was first ready."""

    @property
    def stats(self) -> EngineStats | None:
        """The latest counters, or None before the current worker has sent any."""

    @property
    def report(self) -> EngineReport:
        """Counters and latencies since the first start."""

    @property
    def ready(self) -> bool:
        """Whether the engine accepts a request now."""

    @property
    def failure(self) -> str | None:
        """The reason why the engine is not ready, a sentence for clients; None if it is ready or not started."""

    @property
    def restarts(self) -> int:
        """The number of restarts of the worker."""

    def check_room(self) -> None:
        """Raise ``RateLimitError`` when the queue is full, before a request is prepared."""

    async def start(self) -> ModelInfo:
        """Load the model and return its description. Raises ``ServiceUnavailableError`` when it cannot be loaded."""

    def generate(self, request: GenerateRequest) -> AsyncGenerator[list[StreamEvent], None]:
        """Yield the events up to the Finished of every choice; events that arrive together come together.

        Closing the generator early aborts the unfinished choices.
        """

    def abort(self, request_id: str, index: int | None = None) -> None:
        """Abort one choice, or all, of a request within one step: it finishes with ``abort``. Ignore unknown ids."""

    async def close(self) -> None:
        """Release all resources; nothing runs afterwards."""


class RequestStream:
    """The events of one request that wait for its consumer, at most ``MAX_UNREAD``."""

    def __init__(self, n: int) -> None:
        self._events: list[StreamEvent] = []
        self._unfinished = set(range(n))
        self._error: APIError | None = None
        self._waiter: asyncio.Future[None] | None = None
        """The future that the consumer awaits, if it waits."""

    @property
    def is_finished(self) -> bool:
        """Whether every choice has finished."""
        return not self._unfinished

    @property
    def is_full(self) -> bool:
        """Whether as many events wait as may wait."""
        return len(self._events) >= MAX_UNREAD

    def put(self, event: StreamEvent) -> None:
        """Add one event."""
        if isinstance(event, Finished):
            self._unfinished.discard(event.index)
        self._events.append(event)
        self._wake()

    def fail(self, error: APIError) -> None:
        """End the stream with an exception after the events that have arrived."""
        self._error = error
        self._wake()

    async def take(self) -> list[StreamEvent]:
        """Return all events that have arrived; none only at the end. Raises the error that ended the stream."""
        while not self._events and self._error is None and self._unfinished:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if not self._events and self._error is not None:
            raise self._error
        events, self._events = self._events, []
        return events

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


class EngineClient:
    """An engine in its own process, which is restarted when it dies. Use it on one event loop."""

    def __init__(
        self,
        options: EngineOptions,
        *,
        transport: Literal["process", "thread"] = "process",
        core_factory: str = CORE_FACTORY,
        timeouts: Timeouts | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        start_process: Start = start_process,
    ) -> None:
        """Make the client; nothing runs before :meth:`start`. The thread transport is for tests of the layers above."""
        timeouts = timeouts or Timeouts(heartbeat=options.heartbeat_timeout)
        worker_type = partial(ProcessWorker, start=start_process) if transport == "process" else ThreadWorker
        launch = partial(
            worker_type,
            options=options,
            core_factory=core_factory,
            heartbeat_interval=timeouts.heartbeat_interval,
        )
        self._max_waiting = options.max_waiting
        folder = str(Path(options.model_path).parent)
        self._supervisor = Supervisor(launch, self, timeouts, clock=clock, sleep=sleep, folder=folder)
        self._latencies = Latencies(clock)
        self._streams: dict[str, RequestStream] = {}
        self._unstarted: dict[str, int] = {}
        """Unfinished choices of each request that was sent to the worker and has not started.

        An aborted request stays here until the worker reports its end, so that the worker's queue is bounded.
        """
        self._arriving = 0
        """Requests that wait for the worker to be ready."""

    @property
    def info(self) -> ModelInfo | None:
        """The loaded model, or None before the engine was first ready."""
        return self._supervisor.info

    @property
    def stats(self) -> EngineStats | None:
        """The latest counters, or None before the current worker has sent any."""
        return self._supervisor.stats

    @property
    def report(self) -> EngineReport:
        """Counters and latencies since the first start."""
        return EngineReport(
            stats=self._supervisor.totals,
            restarts=self.restarts,
            inter_token_latency=self._latencies.inter_token,
            queue_time=self._latencies.queue_time,
        )

    @property
    def ready(self) -> bool:
        """Whether the engine accepts a request now."""
        return self._supervisor.ready

    @property
    def failure(self) -> str | None:
        """The reason why the engine is not ready, a sentence for clients; None if it is ready or not started."""
        return self._supervisor.failure

    @property
    def restarts(self) -> int:
        """The number of restarts of the worker."""
        return self._supervisor.restarts

    async def start(self) -> ModelInfo:
        """Load the model and return its description. Raises ``ServiceUnavailableError`` with the loader's message."""
        return await self._supervisor.start()

    async def close(self) -> None:
        """End the worker; requests in flight finish with ``abort``. Idempotent; a closed client stays closed."""
        await self._supervisor.close()

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[list[StreamEvent], None]:
        """Yield the events up to the Finished of every choice, at most ``EVENTS_PER_TURN`` at a time.

        Closing the generator early aborts the unfinished choices.

        Raises ``RateLimitError`` before the first event when ``max_waiting`` requests wait, and
        ``ServiceUnavailableError`` when the engine does not become ready in time or dies during the answer.
        """
        await self._admit()
        request_id = request.request_id
        assert request_id not in self._streams, f"{request_id} is in flight"
        self._supervisor.send(request)
        stream = self._streams[request_id] = RequestStream(request.n)
        self._unstarted[request_id] = request.n
        self._latencies.sent(request)
        try:
            while events := await stream.take():
                yield events[:EVENTS_PER_TURN]
                for begin in range(EVENTS_PER_TURN, len(events), EVENTS_PER_TURN):
                    await asyncio.sleep(0)
                    yield events[begin : begin + EVENTS_PER_TURN]
        finally:
            if self._streams.pop(request_id, None) is not None:
                self._supervisor.send(Abort(request_id=request_id))

    def abort(self, request_id: str, index: int | None = None) -> None:
        """Abort one choice, or all, of a request within one step: it finishes with ``abort``. Ignore unknown ids."""
        if request_id in self._streams:
            self._supervisor.send(Abort(request_id=request_id, index=index))

    def check_room(self) -> None:
        """Raise ``RateLimitError`` when ``max_waiting`` requests wait."""
        if len(self._unstarted) + self._arriving >= self._max_waiting:
            raise RateLimitError(f"{self._max_waiting} requests are waiting already.")

    async def _admit(self) -> None:
        """Wait until the worker accepts requests. Raises ``RateLimitError`` when ``max_waiting`` requests wait."""
        self.check_room()
        if self.ready:
            return
        self._arriving += 1
        try:
            await self._supervisor.until_ready()
        finally:
            self._arriving -= 1

    def receive(self, event: StreamEvent) -> None:
        """Pass one event of the worker on to its stream."""
        request_id = event.request_id
        self._latencies.observe(event)
        if request_id in self._unstarted:
            self._count_start(event)
        stream = self._streams.get(request_id)
        if stream is None:  # its consumer has aborted it
            return
        stream.put(event)
        if stream.is_finished:
            del self._streams[request_id]
        elif stream.is_full:
            self._drop_slow_stream(request_id)

    def _drop_slow_stream(self, request_id: str) -> None:
        """End a request whose consumer reads too slowly, so that its events do not fill the memory."""
        self._supervisor.send(Abort(request_id=request_id))
        self._streams.pop(request_id).fail(
            RequestTimeoutError(f"The answer was read too slowly: {MAX_UNREAD} events of it were waiting.")
        )

    def expects_events(self) -> bool:
        """Return whether any request is unfinished."""
        return bool(self._streams)

    def fail_all(self, reason: str, output: tuple[str, ...]) -> None:
        """Fail every request in flight because the worker has ended."""
        streams, self._streams = self._streams, {}
        self._unstarted.clear()
        self._latencies.forget()
        for stream in streams.values():
            error = ServiceUnavailableError(f"The engine stopped while it answered: {reason}.")
            error.add_note("\n".join(output))
            stream.fail(error)

    def _count_start(self, event: StreamEvent) -> None:
        request_id = event.request_id
        if isinstance(event, Finished):
            self._unstarted[request_id] -= 1
        if isinstance(event, Started) or not self._unstarted[request_id]:
            del self._unstarted[request_id]
