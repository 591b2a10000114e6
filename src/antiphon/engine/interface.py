"""The whole vocabulary of the engine's process boundary, as tagged frozen Structs. Knows nothing of the engine.

Client to worker: :class:`GenerateRequest`, :class:`Abort`, :class:`Shutdown`.
Worker to client: :class:`Ready` or :class:`LoadFailed` once, then lists of :class:`Started`, :class:`TokenEvent`,
:class:`Finished` and :class:`EngineStats`, one list (one message) per step.
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
"""Of the numbers of tokens and of sequences in a step: 1 to 8192."""


class EngineOptions(Struct, frozen=True, kw_only=True):
    """How one engine loads and runs one model. Every number is a count unless its unit is named."""

    model_path: str
    ctx_size: int = 0
    """KV cells shared by all sequences; 0 takes the model's training context, at most 8192."""
    cache_ram: int = -1
    """MiB of host memory for cached prefixes that nobody uses; -1 takes twice what the KV cells take, 0 none."""
    max_num_seqs: int = 32
    """Sequences that decode at the same time."""
    max_num_batched_tokens: int = 512
    """Tokens that one step may carry."""
    prefill_chunk_size: int = 128
    """Prompt tokens that one step may carry while other sequences decode, so that their streams go on."""
    max_waiting: int = 256
    """Requests that may wait for their first step; one more is refused with 429."""
    threads: int = 0
    """Threads of a decode step; 0 takes the physical cores."""
    threads_batch: int = 0
    """Threads of a step that carries prompt tokens; 0 means the same as ``threads``."""
    n_gpu_layers: int = -1
    """Layers on the accelerator; -1 means all where the build has one."""
    flash_attn: bool = True
    prompt_lookup: bool = True
    """Draft tokens from the conversation itself, where that is faster."""
    draft_model: str = ""
    """A GGUF file with the same vocabulary that drafts tokens; empty: none."""
    use_mmap: bool = True
    use_mlock: bool = False
    heartbeat_timeout: float = 60.0
    """Seconds of silence after which the engine is killed and started again; longer than its longest step."""


class ModelInfo(Struct, frozen=True, kw_only=True):
    """What the worker says of the model that it loaded and of how it runs it."""

    description: str
    n_params: int
    model_size: int
    """Bytes of weights."""
    n_vocab: int
    n_ctx_train: int
    max_model_len: int
    """Tokens that prompt and answer of one sequence may have together."""
    ctx_size: int
    host_cache_size: int = 0
    """Tokens of cached prefixes that host memory keeps beside the KV cells."""
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
    """Instruction sets and back ends compiled in."""
    fingerprint: str
    """Hash over model file, engine version and the options that change the logits."""


class SamplingParams(Struct, frozen=True, kw_only=True):
    """How the next token is chosen. All values final: defaults are the renderer's business."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    """0: off."""
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: dict[int, float] = {}
    seed: int | None = None
    """Any 64-bit integer; None draws one. Choice ``i`` uses its own stream derived from (seed, i)."""
    logprobs: int | None = None
    """None: no logprobs; otherwise the number of alternatives (0-20) that each token reports."""
    max_tokens: int
    """Tokens that a choice may generate at most, at least 1; the renderer has capped it to the context."""


class TokenSegment(Struct, frozen=True, tag="tokens"):
    """A run of tokens in a prompt."""

    ids: list[int]


PromptSegment = TokenSegment
"""A prompt is a sequence of segments. Tokens are the only kind so far."""


class GenerateRequest(Struct, frozen=True, kw_only=True, tag="generate"):
    """One request: ``n`` choices that share ``prompt`` and differ in their random stream only."""

    request_id: str
    prompt: tuple[PromptSegment, ...]
    sampling: SamplingParams
    n: int = 1
    grammar: str = ""
    """What the answer must match, as llguidance reads it (Lark, or its JSON form); empty: anything."""
    prediction_ids: list[int] = []
    """What the answer is expected to be; changes how fast it comes, and nothing of what it says."""
    cache_salt: str = ""
    """Requests share cached prefixes only within one salt (project and ``prompt_cache_key``)."""
    service_tier: ServiceTier = "default"

    @property
    def prompt_ids(self) -> list[int]:
        """The key of every position, by which the prefix tree finds equal prompts: its token id."""
        return [key for segment in self.prompt for key in segment.ids]


class Abort(Struct, frozen=True, kw_only=True, tag="abort"):
    """Ends one choice of a request (or all, when ``index`` is None) within one step; unknown ids are no error."""

    request_id: str
    index: int | None = None


class Shutdown(Struct, frozen=True, tag="shutdown"):
    """Ends the worker: everything in flight finishes with reason ``abort``."""


ToWorker = GenerateRequest | Abort | Shutdown


class Ready(Struct, frozen=True, kw_only=True, tag="ready"):
    """The model is loaded; requests are taken from now on."""

    info: ModelInfo


class LoadFailed(Struct, frozen=True, kw_only=True, tag="load_failed"):
    """The model cannot be loaded; the worker ends."""

    message: str


class TokenLogprobs(Struct, frozen=True, array_like=True):
    """Natural-log probabilities at one position: softmax of the logits after bias and penalties, before temperature."""

    logprob: float
    """Of the chosen token; -9999.0 when it is not among the 20 most likely."""
    top_ids: list[int]
    """Most likely first; as many as were asked for."""
    top_logprobs: list[float]


class Started(Struct, frozen=True, kw_only=True, tag="started"):
    """The request has left the waiting queue for the first time."""

    request_id: str
    cached_tokens: int
    """Prompt tokens whose KV cells were reused."""
    queue_time: float = 0.0
    """Seconds that it waited, the compilation of its grammar included."""


class TokenEvent(Struct, frozen=True, kw_only=True, tag="tokens"):
    """Tokens that one choice gained in one step. An end-of-generation token is never among them."""

    request_id: str
    index: int
    token_ids: list[int]
    logprobs: list[TokenLogprobs] = []
    """As long as ``token_ids`` when logprobs were asked for, else empty."""


class Finished(Struct, frozen=True, kw_only=True, tag="finished"):
    """The one terminal event of a choice."""

    request_id: str
    index: int
    reason: FinishReason
    """``stop``: the model ended its turn; ``length``: max_tokens or the context; ``abort``: asked for; ``error``:
    a fault of the engine; ``grammar``: the request's grammar cannot be followed, or takes too much work."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    """Tokens sampled, the end-of-generation token included."""
    cached_tokens: int = 0
    accepted_prediction_tokens: int = 0
    """Tokens of the answer that were drafted from the prediction."""
    rejected_prediction_tokens: int = 0
    """Tokens that were drafted from the prediction and decoded in vain; not among ``completion_tokens``."""
    message: str = ""
    """Why, when ``reason`` is ``error`` or ``grammar``."""


class EngineStats(Struct, frozen=True, kw_only=True, tag="stats"):
    """What the worker holds now, for /metrics and for tests that nothing leaks."""

    running: int
    waiting: int
    kv_cells_used: int
    """Cells held by running sequences and by cached prefixes."""
    kv_cells_cached: int
    """Cells held by cached prefixes that nothing runs on (evictable)."""
    kv_cells_total: int
    steps: int
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int
    preemptions: int
    drafts: int = 0
    """Runs of tokens that were proposed and decoded in one step."""
    draft_tokens: int = 0
    accepted_tokens: int = 0
    """Of the draft tokens, those that the model says, too."""
    tokens_per_step: Distribution = field(default_factory=partial(Distribution.over, STEP_BOUNDS))
    sequences_per_step: Distribution = field(default_factory=partial(Distribution.over, STEP_BOUNDS))

    def after(self, before: "EngineStats | None") -> "EngineStats":
        """Add the counts of the workers that ran before: what is counted since the engine's first start."""
        if before is None:
            return self
        return replace(self, **{name: getattr(before, name) + getattr(self, name) for name in _COUNTS})

    def ended(self) -> "EngineStats":
        """Keep the counts alone: the worker has gone, and nothing is held."""
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
"""The fields of :class:`EngineStats` that only grow while a worker runs."""


class EngineReport(Struct, frozen=True, kw_only=True):
    """What is known of an engine since its first start: nothing in it begins anew when the worker does."""

    stats: EngineStats | None
    """None before any came."""
    restarts: int
    inter_token_latency: Distribution
    """Seconds between the events of a choice that carry its tokens."""
    queue_time: Mapping[ServiceTier, Distribution]
    """Seconds from a request's arrival to its first step."""


FromWorker = Ready | LoadFailed | Started | TokenEvent | Finished | EngineStats
StreamEvent = Started | TokenEvent | Finished
