"""The extensions of other local servers that change how an answer is decoded. docs/fields.md names each one's origin.

An attribute is None if its field is absent or null. Some fields ask for an ability that this server lacks. Clients send
them with a value that asks for nothing: the table of fields lists that value, and all others are refused.
"""

from typing import Annotated

from msgspec import Meta, Struct

from antiphon.errors import InvalidRequestError
from antiphon.protocol import validation
from antiphon.protocol.bounds import MAX_BREAKER, MAX_BREAKERS, MAX_LOGPROBS, MAX_STOP_TOKENS

NO_LIMIT = -1
"""The value of ``max_tokens`` for an answer of any length, and of ``seed`` for a random one."""
AnswerTokens = Annotated[int, Meta(ge=NO_LIMIT, le=2**63 - 1)]
TokenNumber = Annotated[int, Meta(ge=0, le=2**31 - 1)]
"""A token id."""
Share = Annotated[float, Meta(ge=0, le=1)]
Factor = Annotated[float, Meta(ge=0, le=100)]
Breaker = Annotated[str, Meta(min_length=1, max_length=MAX_BREAKER)]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class DecodingExtensions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields of vLLM, llama.cpp and SGLang about decoding."""

    n_predict: AnswerTokens | None = None
    """Another name of ``max_tokens``."""
    min_tokens: Count | None = None
    """Tokens that an answer has at least."""
    ignore_eos: bool | None = None
    """Whether an answer goes on until it is as long as it may be."""

    repeat_penalty: Annotated[float, Meta(gt=0, le=2)] | None = None
    """Another name of ``repetition_penalty``, for the newest tokens only."""
    repeat_last_n: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    """Newest tokens that the repetition penalty counts; -1 means all, and 0 turns it off."""
    typical_p: Share | None = None
    """The probability that the most typical tokens have together; 1 turns it off."""
    xtc_probability: Share | None = None
    """The probability that all but the least likely of the likely tokens are dropped; 0 turns it off."""
    xtc_threshold: Share | None = None
    """The probability of a likely token; more than 0.5 turns xtc off."""
    dry_multiplier: Factor | None = None
    """The size of the penalty on repeats of several tokens; 0 turns it off."""
    dry_base: Annotated[float, Meta(ge=1, le=100)] | None = None
    dry_allowed_length: Annotated[int, Meta(ge=0, le=256)] | None = None
    """Tokens of a repeat without a penalty on a longer one."""
    dry_penalty_last_n: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    """Newest tokens in which repeats count; -1 means all, and 0 turns it off."""
    dry_sequence_breakers: Annotated[list[Breaker], Meta(max_length=MAX_BREAKERS)] | None = None
    """Texts across which no repeat continues."""
    mirostat: Annotated[int, Meta(ge=0, le=2)] | None = None
    """The version of mirostat; 0 turns it off."""
    mirostat_tau: Factor | None = None
    mirostat_eta: Factor | None = None

    stop_token_ids: Annotated[list[TokenNumber], Meta(max_length=MAX_STOP_TOKENS)] | None = None
    """Tokens that end the answer."""
    include_stop_str_in_output: bool | None = None
    """Whether the content ends with the stop string or the token that has ended it."""
    no_stop_trim: bool | None = None
    """Another name of ``include_stop_str_in_output``."""
    prompt_logprobs: Annotated[int, Meta(ge=0, le=MAX_LOGPROBS)] | None = None
    """The number of likely tokens whose logprobs the answer has for each position of the prompt."""
    return_token_ids: bool | None = None
    """Whether the answer has the token ids of prompt and answer."""
    skip_special_tokens: bool | None = None
    """False: the content has the texts of control tokens."""
    spaces_between_special_tokens: bool | None = None
    """True asks for nothing where no special tokens are shown."""

    add_special_tokens: bool | None = None
    best_of: Annotated[int, Meta(ge=1, le=2**63 - 1)] | None = None
    cache_prompt: bool | None = None
    early_stopping: bool | None = None
    id_slot: int | None = None
    length_penalty: float | None = None
    min_keep: int | None = None
    n_discard: int | None = None
    n_indent: int | None = None
    n_keep: int | None = None
    n_probs: int | None = None
    post_sampling_probs: bool | None = None
    return_hidden_states: bool | None = None
    return_progress: bool | None = None
    return_tokens_as_token_ids: bool | None = None
    t_max_predict_ms: int | None = None
    timings_per_token: bool | None = None
    use_beam_search: bool | None = None

    @property
    def includes_stop(self) -> bool:
        """Whether the content ends with what has ended it."""
        return bool(self.include_stop_str_in_output or self.no_stop_trim)

    @property
    def shows_special_tokens(self) -> bool:
        """Whether the content has the texts of control tokens."""
        return self.skip_special_tokens is False


def check_special_tokens(request: DecodingExtensions) -> None:
    """Check that no spaces are to be written between special tokens. Raises InvalidRequestError."""
    if request.shows_special_tokens and request.spaces_between_special_tokens:
        reason = "the texts of special tokens are written without spaces between them."
        raise validation.invalid_value("spaces_between_special_tokens", reason)


def check_answer_length(limits: dict[str, int | None]) -> None:
    """Check the fields that limit an answer, by their names: each is -1 or at least 1, and all given ones are equal.

    The first field replaces the others. Raises InvalidRequestError.
    """
    for name, limit in limits.items():
        if limit == 0:
            raise validation.out_of_range(name, "integer", ">=", 1, 0)
    first = next((name for name, limit in limits.items() if limit is not None), None)
    for name, limit in limits.items():
        if first is not None and limit not in {None, limits[first]}:
            raise validation.invalid_value(name, f"it differs from '{first}', which replaces it.")


def check_repeat_penalty(repeat_penalty: float | None, repetition_penalty: float | None) -> None:
    """Check that the two names of the repetition penalty agree. Raises InvalidRequestError."""
    if repeat_penalty is not None and repetition_penalty not in {None, repeat_penalty}:
        raise validation.invalid_value("repeat_penalty", "it differs from 'repetition_penalty', which replaces it.")


def check_prompt_logprobs(prompt_logprobs: int | None, *, stream: bool) -> None:
    """Check that the logprobs of the prompt are not asked for in a stream, as in vLLM. Raises InvalidRequestError."""
    if prompt_logprobs is not None and stream:
        raise validation.invalid_value("prompt_logprobs", "it is only allowed when 'stream' is not enabled.")


def check_best_of(best_of: int | None, n: int | None) -> None:
    """Check that all choices are returned: the server does not rank them. Raises InvalidRequestError."""
    if best_of is not None and best_of != (n or 1):
        raise validation.invalid_value("best_of", f"it differs from 'n', which is {n or 1}.")


def check_min_tokens(min_tokens: int | None, limit: int | None) -> None:
    """Check that an answer may have ``min_tokens`` tokens. Raises InvalidRequestError."""
    if min_tokens is not None and limit is not None and NO_LIMIT < limit < min_tokens:
        raise _more_than_limit(limit)


def _more_than_limit(limit: int) -> InvalidRequestError:
    return validation.invalid_value("min_tokens", f"it is more than the {limit} tokens that the answer may have.")
