from collections.abc import Iterable

from antiphon.engine.host.latencies import INTER_TOKEN_BOUNDS, QUEUE_BOUNDS, Latencies
from antiphon.engine.interface import Finished, Started, StreamEvent, TokenEvent
from antiphon.telemetry.distribution import Distribution
from tests.engine.engine_trial import request

TOKEN = TokenEvent(request_id="a", index=0, token_ids=[1])
END = Finished(request_id="a", index=0, reason="stop")


def started(queue_time: float) -> Started:
    return Started(request_id="a", cached_tokens=0, queue_time=queue_time)


def observed(events: Iterable[StreamEvent], times: Iterable[float] = ()) -> Latencies:
    clock = iter(times)
    latencies = Latencies(lambda: next(clock))
    latencies.sent(request("a", [1], tier="flex"))
    for event in events:
        latencies.observe(event)
    return latencies


def of(*values: float, bounds: tuple[float, ...] = INTER_TOKEN_BOUNDS) -> Distribution:
    distribution = Distribution.over(bounds)
    for value in values:
        distribution.observe(value)
    return distribution


def test_time_between_two_tokens_of_a_choice_is_observed() -> None:
    assert of(0.5, 2.0) == observed([TOKEN, TOKEN, TOKEN, END], [1.0, 1.5, 3.5]).inter_token


def test_first_token_and_tokens_of_other_choices_are_not_observed() -> None:
    other = TokenEvent(request_id="a", index=1, token_ids=[1])
    assert of(2.0) == observed([TOKEN, other, TOKEN], [1.0, 2.0, 3.0]).inter_token


def test_queue_time_is_observed_by_service_tier() -> None:
    latencies = observed([started(0.25)])
    assert of(0.25, bounds=QUEUE_BOUNDS) == latencies.queue_time["flex"]
    assert of(bounds=QUEUE_BOUNDS) == latencies.queue_time["default"]


def test_request_that_never_ran_has_no_queue_time() -> None:
    latencies = observed([END, started(1.0)])
    assert of(bounds=QUEUE_BOUNDS) == latencies.queue_time["flex"]


def test_finished_request_is_dropped() -> None:
    latencies = observed([started(0.0), TOKEN, END], [1.0])
    assert latencies.is_empty


def test_forgetting_drops_all_requests() -> None:
    latencies = observed([started(0.0), TOKEN], [1.0])
    assert not latencies.is_empty
    latencies.forget()
    assert latencies.is_empty
