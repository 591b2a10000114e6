"""The client: requests go to the worker, each request's events come back to the one who asked.

Invariant: a request is registered from the moment it is sent until its last choice has finished, its generator is
closed, or the worker is lost, whichever comes first; so every generator ends in one Finished per choice or in one
exception.
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
"""Events of one request that its consumer may be behind: about 10 MB, or 60 MB with 20 logprobs each."""
TURN = 64
"""Events of one request that are handed over before others get a turn of the event loop."""


class Engine(Protocol):
    """What a local backend needs of an engine."""

    @property
    def info(self) -> ModelInfo | None:
        """What runs, or None before it was ever ready."""

    @property
    def stats(self) -> EngineStats | None:
        """The newest counters, or None when this worker has sent none."""

    @property
    def report(self) -> EngineReport:
        """What is counted and measured since the first start."""

    @property
    def ready(self) -> bool:
        """Whether a request sent now would be taken."""

    @property
    def failure(self) -> str | None:
        """Why it would not, a sentence that clients may read; None while it would, or before the start."""

    @property
    def restarts(self) -> int:
        """How often the worker was started again."""

    def check_room(self) -> None:
        """Raise ``RateLimitError`` when a request sent now would be refused, before anything is done for it."""

    async def start(self) -> ModelInfo:
        """Load the model. Raises ``ServiceUnavailableError`` when it cannot be loaded."""

    def generate(self, request: GenerateRequest) -> AsyncGenerator[list[StreamEvent], None]:
        """Events up to the Finished of every choice, those together that have come together.

        Closing the generator before that aborts what is left.
        """

    def abort(self, request_id: str, index: int | None = None) -> None:
        """End one choice, or all, within one step: it finishes with ``abort``. Unknown ids are no error."""

    async def close(self) -> None:
        """Release everything; nothing runs afterwards."""


class RequestStream:
    """The events of one request that its consumer has not taken yet: at most ``MAX_UNREAD``."""

    def __init__(self, n: int) -> None:
        self._events: list[StreamEvent] = []
        self._unfinished = set(range(n))
        self._error: APIError | None = None
        self._waiter: asyncio.Future[None] | None = None
        """Of the consumer, while it waits."""

    @property
    def finished(self) -> bool:
        """Whether every choice has finished."""
        return not self._unfinished

    @property
    def full(self) -> bool:
        """Whether the consumer is too far behind."""
        return len(self._events) >= MAX_UNREAD

    def put(self, event: StreamEvent) -> None:
        """Add one event."""
        if isinstance(event, Finished):
            self._unfinished.discard(event.index)
        self._events.append(event)
        self._wake()

    def fail(self, error: APIError) -> None:
        """End with an exception, after what has arrived."""
        self._error = error
        self._wake()

    async def take(self) -> list[StreamEvent]:
        """All events that have arrived, at least one unless it is the end; raises the error that ended it."""
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
    """An engine in a process of its own, restarted when it dies. Used on one event loop."""

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
        """Hold everything; nothing runs before :meth:`start`. The thread transport serves tests of what is above."""
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
        """Choices that have not finished, of each request that the worker has been sent and has not started.

        A request that was aborted stays here until the worker says so: what the worker may hold is bounded by it.
        """
        self._arriving = 0
        """Requests that wait for the worker to be ready."""

    @property
    def info(self) -> ModelInfo | None:
        """What runs, or None before it was ever ready."""
        return self._supervisor.info

    @property
    def stats(self) -> EngineStats | None:
        """The newest counters, or None when this worker has sent none."""
        return self._supervisor.stats

    @property
    def report(self) -> EngineReport:
        """What is counted and measured since the first start."""
        return EngineReport(
            stats=self._supervisor.totals,
            restarts=self.restarts,
            inter_token_latency=self._latencies.inter_token,
            queue_time=self._latencies.queue_time,
        )

    @property
    def ready(self) -> bool:
        """Whether a request sent now would be taken."""
        return self._supervisor.ready

    @property
    def failure(self) -> str | None:
        """Why it would not, a sentence that clients may read; None while it would, or before the start."""
        return self._supervisor.failure

    @property
    def restarts(self) -> int:
        """How often the worker was started again."""
        return self._supervisor.restarts

    async def start(self) -> ModelInfo:
        """Load the model. Raises ``ServiceUnavailableError`` with the loader's message when it cannot be loaded."""
        return await self._supervisor.start()

    async def close(self) -> None:
        """End the worker: what is in flight finishes with ``abort``. Idempotent; a closed client stays closed."""
        await self._supervisor.close()

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[list[StreamEvent], None]:
        """Events up to the Finished of every choice, at most ``TURN`` at a time; closing the generator aborts the rest.

        Raises ``RateLimitError`` before the first event when ``max_waiting`` requests wait, and
        ``ServiceUnavailableError`` when the engine does not become ready in time or dies while it answers.
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
                yield events[:TURN]
                for begin in range(TURN, len(events), TURN):
                    await asyncio.sleep(0)
                    yield events[begin : begin + TURN]
        finally:
            if self._streams.pop(request_id, None) is not None:
                self._supervisor.send(Abort(request_id=request_id))

    def abort(self, request_id: str, index: int | None = None) -> None:
        """End one choice, or all, within one step: it finishes with ``abort``. Unknown ids are no error."""
        if request_id in self._streams:
            self._supervisor.send(Abort(request_id=request_id, index=index))

    def check_room(self) -> None:
        """Raise ``RateLimitError`` when as many requests wait as may wait."""
        if len(self._unstarted) + self._arriving >= self._max_waiting:
            raise RateLimitError(f"{self._max_waiting} requests are waiting already.")

    async def _admit(self) -> None:
        """Wait until the worker takes requests; refuse at once what would wait behind ``max_waiting`` others."""
        self.check_room()
        if self.ready:
            return
        self._arriving += 1
        try:
            await self._supervisor.until_ready()
        finally:
            self._arriving -= 1

    def receive(self, event: StreamEvent) -> None:
        """Take one event from the worker."""
        request_id = event.request_id
        self._latencies.observe(event)
        if request_id in self._unstarted:
            self._count_start(event)
        stream = self._streams.get(request_id)
        if stream is None:  # aborted by its consumer, who has gone
            return
        stream.put(event)
        if stream.finished:
            del self._streams[request_id]
        elif stream.full:
            self._give_up(request_id)

    def _give_up(self, request_id: str) -> None:
        """End a request whose consumer does not keep up: what it has not taken must not fill the memory."""
        self._supervisor.send(Abort(request_id=request_id))
        self._streams.pop(request_id).fail(
            RequestTimeoutError(f"The answer was read too slowly: {MAX_UNREAD} events of it were waiting.")
        )

    def expects_events(self) -> bool:
        """Whether any request is unfinished."""
        return bool(self._streams)

    def fail_all(self, reason: str, output: tuple[str, ...]) -> None:
        """Fail every request in flight: the worker has gone."""
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
