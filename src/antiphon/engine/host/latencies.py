"""Histograms of queue times and inter-token latencies, which outlive the worker.

They are measured where events arrive from the worker, so a slow client does not change them.
"""

from collections.abc import Callable
from typing import Final, get_args

from antiphon.engine.interface import Finished, GenerateRequest, ServiceTier, Started, StreamEvent, TokenEvent
from antiphon.telemetry.distribution import Distribution

INTER_TOKEN_BOUNDS: Final = (
    *(0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08),
    *(0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0),
)
"""Seconds. The bounds are narrow where a user notices a fifth of a token's time."""
QUEUE_BOUNDS: Final = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0),
    *(40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0),
)
"""Seconds."""


class Latencies:
    """Measures latencies from the requests that are sent to the worker and the events that it returns."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Make empty histograms. ``clock`` returns monotonic seconds."""
        self.inter_token: Final = Distribution.over(INTER_TOKEN_BOUNDS)
        """Seconds between two token events of one choice; an event has one token, or several with drafts."""
        self.queue_time: Final[dict[ServiceTier, Distribution]] = {
            tier: Distribution.over(QUEUE_BOUNDS) for tier in get_args(ServiceTier)
        }
        """Seconds from a request's arrival at the worker to its first step."""
        self._clock = clock
        self._tiers: dict[str, ServiceTier] = {}
        self._last: dict[tuple[str, int], float] = {}
        """The time of the last token event of each running choice."""

    @property
    def is_empty(self) -> bool:
        """Whether no request is recorded."""
        return not (self._tiers or self._last)

    def sent(self, request: GenerateRequest) -> None:
        """Record a request that was sent to the worker."""
        self._tiers[request.request_id] = request.service_tier

    def observe(self, event: StreamEvent) -> None:
        """Record an event of the worker."""
        if isinstance(event, TokenEvent):
            now, choice = self._clock(), (event.request_id, event.index)
            before = self._last.get(choice)
            if before is not None:
                self.inter_token.observe(now - before)
            self._last[choice] = now
        elif isinstance(event, Finished):
            self._last.pop((event.request_id, event.index), None)
            self._tiers.pop(event.request_id, None)  # a request without a first step has no queue time
        elif isinstance(event, Started) and (tier := self._tiers.pop(event.request_id, None)):
            self.queue_time[tier].observe(event.queue_time)

    def forget(self) -> None:
        """Drop all requests because the worker has ended."""
        self._tiers.clear()
        self._last.clear()
