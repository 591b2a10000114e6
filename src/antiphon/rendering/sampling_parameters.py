"""Makes the parameters of sampling from a request: fills in the defaults and limits the answer to the context."""

from typing import Final

from antiphon.engine.interface import SamplingParams
from antiphon.errors import InvalidRequestError
from antiphon.protocol import validation
from antiphon.protocol.combined_errors import combined
from antiphon.protocol.requests import CreateChatCompletion
from antiphon.rendering.sequence_breakers import Breakers, BreakerVocabulary, find_breakers

REPEAT_LAST_N: Final = 64
"""llama.cpp's default of ``repeat_last_n``."""
MAX_ANSWER_TOKENS: Final = 1 << 20
"""Tokens of all choices together: 128 choices of 8,192 tokens."""


def sampling_params(
    request: CreateChatCompletion, *, left: int, vocabulary: BreakerVocabulary, top_logprobs: int | None
) -> SamplingParams:
    """Return the parameters. The prompt leaves ``left`` tokens of the context. Raises InvalidRequestError.

    A limit (``max_completion_tokens``, ``max_tokens``, ``n_predict``) above ``left`` is capped, as in the reference.
    """
    max_tokens = min(left, request.answer_limit or left)
    _check_total(request.n or 1, max_tokens)
    n_vocab = vocabulary.n_vocab
    breakers = find_breakers(request.dry_sequence_breakers, vocabulary) if request.dry_multiplier else Breakers()
    return SamplingParams(
        temperature=_default(request.temperature, 1.0),
        top_p=_default(request.top_p, 1.0),
        top_k=max(0, request.top_k or 0),
        min_p=_default(request.min_p, 0.0),
        typical_p=_default(request.typical_p, 1.0),
        xtc_probability=_default(request.xtc_probability, 0.0),
        xtc_threshold=_default(request.xtc_threshold, 0.1),
        mirostat=request.mirostat or 0,
        mirostat_tau=_default(request.mirostat_tau, 5.0),
        mirostat_eta=_default(request.mirostat_eta, 0.1),
        dry_multiplier=_default(request.dry_multiplier, 0.0),
        dry_base=_default(request.dry_base, 1.75),
        dry_allowed_length=2 if request.dry_allowed_length is None else request.dry_allowed_length,
        dry_penalty_last_n=-1 if request.dry_penalty_last_n is None else request.dry_penalty_last_n,
        dry_breaker_ids=breakers.ids,
        dry_breaker_sequences=breakers.sequences,
        presence_penalty=_default(request.presence_penalty, 0.0),
        frequency_penalty=_default(request.frequency_penalty, 0.0),
        repetition_penalty=_default(request.repetition_penalty, _default(request.repeat_penalty, 1.0)),
        repetition_last_n=_repetition_last_n(request),
        logit_bias=_logit_bias(request.logit_bias or {}, n_vocab),
        seed=request.chosen_seed,
        logprobs=top_logprobs,
        max_tokens=max_tokens,
        min_tokens=min(request.min_tokens or 0, max_tokens),
        stop_token_ids=_known(request.stop_token_ids or [], n_vocab),
        reports_end=request.includes_stop or bool(request.return_token_ids),
        ignore_eos=bool(request.ignore_eos),
    )


def _repetition_last_n(request: CreateChatCompletion) -> int:
    """Return ``repeat_last_n``. Each name of the penalty has the default of its origin."""
    if request.repeat_last_n is not None:
        return request.repeat_last_n
    return -1 if request.repetition_penalty is not None or request.repeat_penalty is None else REPEAT_LAST_N


def _check_total(n: int, max_tokens: int) -> None:
    if n * max_tokens > MAX_ANSWER_TOKENS:
        raise validation.invalid_value(
            "n",
            f"{n} choices of up to {max_tokens} tokens are more than the {MAX_ANSWER_TOKENS} tokens that an "
            "answer may have. Ask for fewer choices, or set max_completion_tokens.",
        )


def _logit_bias(biases: dict[str, float], n_vocab: int) -> dict[int, float]:
    limit = f"This model's token ids are less than {n_vocab}."
    error = combined(
        InvalidRequestError(f"Invalid key in 'logit_bias': {token}. {limit}", param="logit_bias", code="invalid_value")
        for token in biases
        if int(token) >= n_vocab
    )
    if error is not None:
        raise error
    return {int(token): bias for token, bias in biases.items()}


def _known(stop_token_ids: list[int], n_vocab: int) -> list[int]:
    error = combined(
        validation.invalid_value(f"stop_token_ids[{index}]", f"this model's token ids are less than {n_vocab}.")
        for index, token in enumerate(stop_token_ids)
        if token >= n_vocab
    )
    if error is not None:
        raise error
    return stop_token_ids


def _default(value: float | None, default: float) -> float:
    return default if value is None else value
