"""Letting a request in by the rate limits of its project, key and end user, and charging what it has used."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

import msgspec
import structlog

from antiphon.backends.backend import Call
from antiphon.errors import ServiceUnavailableError
from antiphon.protocol.rate_limits import RateLimitState
from antiphon.protocol.requests import CreateChatCompletion
from antiphon.service.access import Caller
from antiphon.service.end_user import end_user_name
from antiphon.service.records import Observation
from antiphon.store.limits import RateLimiter

BYTES_PER_TOKEN = 4
"""Of a prompt's JSON, roughly, before it is tokenised. Reference: rate limits, which estimates by characters."""

_encode = msgspec.json.Encoder().encode
logger = structlog.get_logger(__name__)


def admitted(
    limiter: RateLimiter | None, call: Call, caller: Caller, observation: Observation
) -> AbstractAsyncContextManager[RateLimitState]:
    """Let a request in for the time of the block; give what is left of its limits.

    It is charged an estimate first, and at its end the tokens that it used: see :func:`_used`. Raises RateLimitError.
    """
    if limiter is None or not limiter.active:
        return nullcontext(RateLimitState())
    return _limited(limiter, call, caller, observation)


@asynccontextmanager
async def _limited(
    limiter: RateLimiter, call: Call, caller: Caller, observation: Observation
) -> AsyncGenerator[RateLimitState, None]:
    prompt = _prompt_tokens(call.request)
    estimate = max(prompt, _most_tokens(call.request))
    end_user = end_user_name(caller.project, call.request)
    admission = await limiter.admit(call.completion_id, caller.principal, tokens=estimate, end_user=end_user)
    try:
        yield admission.state
    finally:
        try:
            await limiter.settle(admission, tokens=_used(observation, prompt))
        except ServiceUnavailableError as error:
            logger.warning("rate_limit_not_settled", error=error.message)


def _prompt_tokens(request: CreateChatCompletion) -> int:
    """Estimate the tokens of the messages and of what is told beside them."""
    told = (request.messages, request.tools, request.functions, request.response_format)
    return sum(len(_encode(part)) for part in told if part is not None) // BYTES_PER_TOKEN


def _most_tokens(request: CreateChatCompletion) -> int:
    return (request.max_completion_tokens or request.max_tokens or 0) * (request.n or 1)


def _used(observation: Observation, estimate: int) -> int:
    """Count the tokens that a request is charged, by its usage where that came.

    What broke off is charged its prompt from when the engine begins with it, and every token that was generated,
    whoever ended it. Where the client left before that, it is charged the prompt's estimate: an engine cannot be kept
    busy for nothing. A request that was refused, or that failed before the engine began, is charged no tokens.
    """
    if observation.usage is not None:
        return observation.usage.total_tokens
    spent = observation.spent
    if spent.prompt_tokens or observation.chunks:
        return (spent.prompt_tokens or estimate) + (spent.completion_tokens or observation.chunks)
    return 0 if observation.error else estimate
