"""The metrics: names (vLLM's, with our own prefix), help texts, labels and buckets.

Reference: Prometheus, metric and label naming. A label has few values, and clients cannot add values: no metric names a
project, a key, a user, a request or a model that is not served.
"""

from typing import Final, Literal

from msgspec import Struct

PREFIX: Final = "antiphon:"

FIRST_TOKEN_BOUNDS: Final = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.5),
    *(5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0),
)
"""Seconds."""
REQUEST_BOUNDS: Final = (
    *(0.1, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0),
    *(40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0),
)
"""Seconds."""
TOKEN_BOUNDS: Final = tuple(float(digit * 10**power) for power in range(6) for digit in (1, 2, 5))
"""Tokens of a request."""


class Metric(Struct, frozen=True, kw_only=True):
    """One metric; a counter's name gets ``_total`` on the page."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ("model_name",)
    bounds: tuple[float, ...] = ()
    """Upper bounds of the buckets of a histogram that the server fills; the engine's histograms have their own."""

    @property
    def full_name(self) -> str:
        """The name on the page, without the suffixes of a histogram's series."""
        return f"{PREFIX}{self.name}{'_total' if self.kind == 'counter' else ''}"


def _counter(name: str, help_text: str, *labels: str) -> Metric:
    return Metric(name=name, kind="counter", help=help_text, labels=("model_name", *labels))


def _gauge(name: str, help_text: str) -> Metric:
    return Metric(name=name, kind="gauge", help=help_text)


def _histogram(name: str, help_text: str, *labels: str, bounds: tuple[float, ...] = ()) -> Metric:
    return Metric(name=name, kind="histogram", help=help_text, labels=("model_name", *labels), bounds=bounds)


REQUESTS: Final = _counter(
    "requests", "Completion requests that have ended: completed, failed, or cancelled by the client.", "outcome"
)
REQUEST_SUCCESS: Final = _counter(
    "request_success", "Choices of completed requests, by their finish_reason.", "finished_reason"
)
REQUEST_ERRORS: Final = _counter("request_errors", "Requests that failed, by the code of the error.", "error")
UNENFORCED_ANSWERS: Final = _counter(
    "unenforced_answers",
    "Finished answers to schemas of which a keyword is not enforced: valid, invalid, or unknown.",
    "validity",
)
HTTP_REQUESTS: Final = Metric(
    name="http_requests",
    kind="counter",
    help="Requests by path, method and status; status none: the client disconnected before the answer began.",
    labels=("handler", "method", "status"),
)

RUNNING: Final = _gauge("num_requests_running", "Choices that the engine computes now.")
WAITING: Final = _gauge("num_requests_waiting", "Choices that wait for their first step, or for free cells.")
TOKENS_PER_STEP: Final = _histogram("iteration_tokens_total", "Tokens in one step of the engine.")
SEQUENCES_PER_STEP: Final = _histogram("iteration_sequences", "Choices in one step of the engine.")
PREEMPTIONS: Final = _counter("num_preemptions", "Choices that were put back into the queue because cells ran out.")

PROMPT_TOKENS: Final = _counter("prompt_tokens", "Tokens of prompts that the engine has begun, cached tokens included.")
PROMPT_TOKENS_CACHED: Final = _counter("prompt_tokens_cached", "Tokens of prompts that came from the prefix cache.")
GENERATION_TOKENS: Final = _counter("generation_tokens", "Tokens that the engine has generated.")
REASONING_TOKENS: Final = _counter("reasoning_tokens", "Tokens of reasoning in completed answers.")
REQUEST_PROMPT_TOKENS: Final = _histogram(
    "request_prompt_tokens", "Tokens of the prompt of a completed request.", bounds=TOKEN_BOUNDS
)
REQUEST_GENERATION_TOKENS: Final = _histogram(
    "request_generation_tokens", "Tokens of the answer to a completed request, all choices.", bounds=TOKEN_BOUNDS
)

KV_USAGE: Final = _gauge("kv_cache_usage_perc", "Share of the KV cache that running choices hold, 0 to 1.")
KV_CACHED: Final = _gauge("kv_cache_cached_perc", "Share of the KV cache that holds prefixes without a running choice.")
KV_SIZE: Final = _gauge("kv_cache_size_tokens", "Size of the KV cache in tokens.")
PREFIX_QUERIES: Final = _counter("prefix_cache_queries", "Tokens of prompts that were looked up in the prefix cache.")
PREFIX_HITS: Final = _counter("prefix_cache_hits", "Tokens of prompts that were found in the prefix cache.")

DRAFTS: Final = _counter("spec_decode_num_drafts", "Drafts that were verified.")
DRAFT_TOKENS: Final = _counter("spec_decode_num_draft_tokens", "Tokens of the verified drafts.")
ACCEPTED_TOKENS: Final = _counter("spec_decode_num_accepted_tokens", "Draft tokens that the model accepted.")

FIRST_TOKEN: Final = _histogram(
    "time_to_first_token_seconds",
    "Seconds from a request to the first chunk of its answer.",
    "service_tier",
    bounds=FIRST_TOKEN_BOUNDS,
)
INTER_TOKEN: Final = _histogram("inter_token_latency_seconds", "Seconds between two steps that give a choice tokens.")
END_TO_END: Final = _histogram(
    "e2e_request_latency_seconds",
    "Seconds from a request to the end of its answer.",
    "service_tier",
    bounds=REQUEST_BOUNDS,
)
QUEUE_TIME: Final = _histogram(
    "request_queue_time_seconds", "Seconds that a request waits for its first step.", "service_tier"
)

READY: Final = _gauge("engine_ready", "1 while the engine accepts requests, 0 while it starts or restarts.")
RESTARTS: Final = _counter("engine_restarts", "Restarts of the engine.")
BUILD: Final = Metric(
    name="build_info", kind="gauge", help="Always 1; the labels are the versions.", labels=("version", "python_version")
)

METRICS: Final = (
    *(REQUESTS, REQUEST_SUCCESS, REQUEST_ERRORS, UNENFORCED_ANSWERS, HTTP_REQUESTS),
    *(RUNNING, WAITING, TOKENS_PER_STEP, SEQUENCES_PER_STEP, PREEMPTIONS),
    *(PROMPT_TOKENS, PROMPT_TOKENS_CACHED, GENERATION_TOKENS, REASONING_TOKENS),
    *(REQUEST_PROMPT_TOKENS, REQUEST_GENERATION_TOKENS),
    *(KV_USAGE, KV_CACHED, KV_SIZE, PREFIX_QUERIES, PREFIX_HITS),
    *(DRAFTS, DRAFT_TOKENS, ACCEPTED_TOKENS),
    *(FIRST_TOKEN, INTER_TOKEN, END_TO_END, QUEUE_TIME),
    *(READY, RESTARTS, BUILD),
)
"""All metrics, in the order of the page."""
