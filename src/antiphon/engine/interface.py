"""The messages between the API process and the worker, as tagged frozen Structs.

Client to worker: :class:`GenerateRequest`, :class:`Abort`, :class:`Shutdown`.
Worker to client: :class:`Ready` or :class:`LoadFailed` once, then lists of :class:`Started`, :class:`PromptLogprobs`,
:class:`TokenEvent`, :class:`Finished` and :class:`EngineStats`, one list (one message) per step.
Invariant: every choice of every accepted request ends in exactly one :class:`Finished`.
"""

from collections.abc import Mapping
from functools import partial
from typing import Final, Literal

from msgspec import Struct, field
from msgspec.structs import replace

from antiphon.telemetry.distribution import Distribution

FinishReason = Literal["stop", "length", "abort", "error", "grammar"]
ServiceTier = Literal["priority", "default", "flex"]
STEP_BOUNDS: Final = tuple(float(2**power) for power in range(14))
"""Upper bounds of the histograms of tokens and sequences in a step: 1 to 8192."""


class EngineOptions(Struct, frozen=True, kw_only=True):
    """The options by which an engine loads and runs a model. A number without a unit is a count."""

    model_path: str
    ctx_size: int = 0
    """KV cells that all sequences share; 0 means the model's training context, at most 8192."""
    cache_ram: int = -1
    """MiB of host memory for unused cached prefixes; -1 means twice the memory of the KV cells, 0 none."""
    max_num_seqs: int = 32
    """Sequences that decode at the same time at most."""
    max_num_batched_tokens: int = 512
    """Tokens of one step at most."""
    prefill_chunk_size: int = 128
    """Prompt tokens of one step at most while other sequences decode, so that their streams do not stall."""
    max_waiting: int = 256
    """Requests that wait for their first step at most; one more is refused with 429."""
    threads: int = 0
    """Threads of a decode step; 0 means the number of physical cores."""
    threads_batch: int = 0
    """Threads of a step with prompt tokens; 0 means the same as ``threads``."""
    n_gpu_layers: int = -1
    """Layers on the accelerator; -1 means all, if the build supports one."""
    flash_attn: bool = True
    prompt_lookup: bool = True
    """Draft tokens from the conversation itself, when that is faster."""
    draft_model: str = ""
    """Path of a GGUF file of the same vocabulary, whose model drafts tokens; empty means none."""
    use_mmap: bool = True
    use_mlock: bool = False
    heartbeat_timeout: float = 60.0
    """Seconds without a message after which the engine is killed and restarted; longer than its longest step."""


class ModelInfo(Struct, frozen=True, kw_only=True):
    """The loaded model, and the options in effect."""

    description: str
    n_params: int
    model_size: int
    """Bytes of weights."""
    n_vocab: int
    n_embd: int
    """Numbers of one row of a :class:`MediaSegment`."""
    n_ctx_train: int
    max_model_len: int
    """Tokens of a prompt and its answer together at most."""
    ctx_size: int
    host_cache_size: int = 0
    """Tokens of cached prefixes that fit into host memory."""
    max_num_seqs: int
    max_num_batched_tokens: int
    prefill_chunk_size: int
    threads: int
    threads_batch: int
    n_gpu_layers: int
    flash_attn: bool
    engine_version: str
    """Package and version of the decoding library."""
    system_info: str
    """The compiled instruction sets and back ends."""
    fingerprint: str
    """A hash of the model file, the engine version and the options that change the logits."""


class SamplingParams(Struct, frozen=True, kw_only=True):
    """The parameters of sampling. The renderer has filled in the model's defaults."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    """0 means off."""
    min_p: float = 0.0
    typical_p: float = 1.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    mirostat: int = 0
    """0 (off), 1 or 2; it takes the place of all other truncations."""
    mirostat_tau: float = 5.0
    """Bits of surprise that mirostat aims at."""
    mirostat_eta: float = 0.1
    dry_multiplier: float = 0.0
    """0 means that DRY is off."""
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = -1
    """Newest tokens in which DRY finds repeats; -1 means all."""
    dry_breaker_ids: list[int] = []
    """Tokens across which no repeat continues."""
    dry_breaker_sequences: list[list[int]] = []
    """Runs of tokens across which no repeat continues."""
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    repetition_last_n: int = -1
    """Newest tokens of prompt and answer that the repetition penalty counts; -1 means all, 0 none."""
    logit_bias: dict[int, float] = {}
    seed: int | None = None
    """A 64-bit integer; None draws one. Choice ``i`` has the random stream of (seed, i)."""
    logprobs: int | None = None
    """The number of alternatives that each token reports; None means no logprobs."""
    max_tokens: int
    """Tokens that a choice generates at most, 1 or more; the renderer has limited it to the context."""
    min_tokens: int = 0
    """Tokens that a choice generates before a token may end it; at most ``max_tokens``."""
    stop_token_ids: list[int] = []
    """Tokens that end a choice, beside the model's end-of-generation tokens."""
    reports_end: bool = False
    """Whether the token that ends a choice is in its last :class:`TokenEvent`."""
    ignore_eos: bool = False
    """Whether no end-of-generation token is drawn."""


class TokenSegment(Struct, frozen=True, tag="tokens"):
    """A run of tokens in a prompt."""

    ids: list[int]

    @property
    def keys(self) -> list[int]:
        """The key of each row in the radix tree: the token id."""
        return self.ids


class MediaSegment(Struct, frozen=True, tag="media"):
    """A run of rows in a prompt that were encoded from a picture or a sound.

    The rows are attended to like those of a text: each attends to the rows before it, and each has a position.
    """

    digest: bytes
    """SHA-256 of everything that determines the rows; equal digests mean equal rows."""
    length: int
    """The number of rows."""
    embeddings: bytes
    """The rows: float32 in this machine's byte order, shape (length, ``ModelInfo.n_embd``)."""

    @property
    def keys(self) -> list[int]:
        """The key of each row in the radix tree: a negative number, which no token has."""
        return [-1 - int.from_bytes(self.digest)] * self.length


PromptSegment = TokenSegment | MediaSegment
"""A part of a prompt."""


class GenerateRequest(Struct, frozen=True, kw_only=True, tag="generate"):
    """A request for ``n`` choices, which share ``prompt`` and differ only in their random streams."""

    request_id: str
    prompt: tuple[PromptSegment, ...]
    sampling: SamplingParams
    n: int = 1
    grammar: str = ""
    """A grammar of the answer, in llguidance's Lark or JSON form; empty means none."""
    prediction_ids: list[int] = []
    """The predicted answer, which makes the answer faster and does not change it."""
    cache_salt: str = ""
    """Requests share cached prefixes only if they have the same salt (project and ``prompt_cache_key``)."""
    service_tier: ServiceTier = "default"
    priority: int = 0
    """Seconds added to the time of arrival: a lower one is served earlier, within the scheduler's bound."""
    prompt_logprobs: int | None = None
    """The number of alternatives that each token of the prompt reports; None means no logprobs of the prompt."""

    @property
    def prompt_ids(self) -> list[int]:
        """The key of every position, by which the radix tree finds equal prefixes. A new list at each call.

        The key of a token is its id; the keys of media are negative.
        """
        return [key for segment in self.prompt for key in segment.keys]


class Abort(Struct, frozen=True, kw_only=True, tag="abort"):
    """Ends one choice of a request, or all if ``index`` is None, within one step; an unknown id has no effect."""

    request_id: str
    index: int | None = None


class Shutdown(Struct, frozen=True, tag="shutdown"):
    """Ends the worker: every choice finishes with reason ``abort``."""


ToWorker = GenerateRequest | Abort | Shutdown


class Ready(Struct, frozen=True, kw_only=True, tag="ready"):
    """Reports that the model is loaded and the worker accepts requests."""

    info: ModelInfo


class LoadFailed(Struct, frozen=True, kw_only=True, tag="load_failed"):
    """Reports that the model cannot be loaded, and that the worker ends."""

    message: str


class TokenLogprobs(Struct, frozen=True, array_like=True):
    """Natural logarithms of the probabilities at one position, after bias and penalties and before temperature."""

    logprob: float
    """The logprob of the chosen token; -9999.0 if it is not among the 20 most likely or the reported ones."""
    top_ids: list[int]
    """The requested number of alternatives, the most likely first."""
    top_logprobs: list[float]


class PromptTokenLogprobs(Struct, frozen=True, array_like=True):
    """Natural logarithms of the model's own probabilities at one position of a prompt."""

    token_id: int
    """The prompt's token at the position."""
    logprob: float
    """Its logprob, -9999.0 at least."""
    rank: int
    """1 for the most likely token; equally likely ones are in the order of their ids."""
    top_ids: list[int]
    """The requested number of tokens, the most likely first."""
    top_logprobs: list[float]


class Started(Struct, frozen=True, kw_only=True, tag="started"):
    """Reports that the first step with tokens of the request begins."""

    request_id: str
    cached_tokens: int
    """Prompt tokens of the first choice that were cached."""
    queue_time: float = 0.0
    """Seconds from the arrival to the first step, the compilation of a grammar included."""


class TokenEvent(Struct, frozen=True, kw_only=True, tag="tokens"):
    """Tokens that one choice gained in one step.

    A token that ends the choice is among them only if its request asks for that. It is then the only one.
    """

    request_id: str
    index: int
    token_ids: list[int]
    logprobs: list[TokenLogprobs] = []
    """One for each token if logprobs were requested, else empty."""
    is_end: bool = False
    """Whether the token ends the choice."""


class PromptLogprobs(Struct, frozen=True, kw_only=True, tag="prompt_logprobs"):
    """The logprobs of some tokens of a prompt. The events of a request are in order and repeat no position.

    The first token has none. Neither has a row of media, nor the token after it.
    """

    request_id: str
    start: int
    """The position of the first of the tokens in the prompt."""
    tokens: list[PromptTokenLogprobs | None]
    """One for each position; None for a row of media."""


class Finished(Struct, frozen=True, kw_only=True, tag="finished"):
    """The one terminal event of a choice."""

    request_id: str
    index: int
    reason: FinishReason
    """``stop``: the model ended its turn. ``length``: max_tokens or the context is reached. ``abort``: an abort or a
    shutdown. ``error``: the engine failed. ``grammar``: the grammar has an error or takes too much time."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    """Generated tokens, an end-of-generation token included."""
    cached_tokens: int = 0
    accepted_prediction_tokens: int = 0
    """Tokens of the answer that were drafted from the prediction."""
    rejected_prediction_tokens: int = 0
    """Tokens drafted from the prediction and rejected; not among ``completion_tokens``."""
    message: str = ""
    """The text of an ``error`` or of a ``grammar`` reason."""


class EngineStats(Struct, frozen=True, kw_only=True, tag="stats"):
    """The current state of a worker, and its counts since its start."""

    running: int
    waiting: int
    kv_cells_used: int
    """Cells of running sequences and of cached prefixes."""
    kv_cells_cached: int
    """Cells of cached prefixes that no running sequence shares, which can be evicted."""
    kv_cells_total: int
    steps: int
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int
    preemptions: int
    drafts: int = 0
    """The number of drafts that were decoded."""
    draft_tokens: int = 0
    accepted_tokens: int = 0
    """Draft tokens that the choices gained."""
    tokens_per_step: Distribution = field(default_factory=partial(Distribution.over, STEP_BOUNDS))
    sequences_per_step: Distribution = field(default_factory=partial(Distribution.over, STEP_BOUNDS))

    def with_counts_of(self, earlier: "EngineStats | None") -> "EngineStats":
        """Return the state of this worker, with the counts of earlier workers added to its own."""
        if earlier is None:
            return self
        return replace(self, **{name: getattr(earlier, name) + getattr(self, name) for name in _COUNTS})

    def without_state(self) -> "EngineStats":
        """Return the counts of a worker that has ended, with an empty state."""
        return replace(self, running=0, waiting=0, kv_cells_used=0, kv_cells_cached=0)


_COUNTS: Final = (
    "steps",
    "prompt_tokens",
    "cached_tokens",
    "generated_tokens",
    "preemptions",
    "drafts",
    "draft_tokens",
    "accepted_tokens",
    "tokens_per_step",
    "sequences_per_step",
)
"""The fields of :class:`EngineStats` that are counts since a worker's start."""


class EngineReport(Struct, frozen=True, kw_only=True):
    """The statistics of an engine since its first start, over all its workers."""

    stats: EngineStats | None
    """None before the first report of a worker."""
    restarts: int
    inter_token_latency: Distribution
    """Seconds between the events of a choice that carry its tokens."""
    queue_time: Mapping[ServiceTier, Distribution]
    """Seconds from a request's arrival to its first step."""


FromWorker = Ready | LoadFailed | Started | PromptLogprobs | TokenEvent | Finished | EngineStats
StreamEvent = Started | PromptLogprobs | TokenEvent | Finished
