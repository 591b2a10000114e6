"""Letting a request in by the rate limits of its project and key, and charging what it has used."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

import msgspec
import structlog

from antiphon.backends.base import Call
from antiphon.errors import ServiceUnavailableError
from antiphon.protocol.rate_limits import RateLimitState
from antiphon.protocol.requests import CreateChatCompletion
from antiphon.service.access import Caller
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

    It is charged an estimate first, and at its end what it used. Raises RateLimitError.
    """
    if limiter is None or not limiter.active:
        return nullcontext(RateLimitState())
    return _limited(limiter, call, caller, observation)


@asynccontextmanager
async def _limited(
    limiter: RateLimiter, call: Call, caller: Caller, observation: Observation
) -> AsyncGenerator[RateLimitState, None]:
    prompt = len(_encode(call.request.messages)) // BYTES_PER_TOKEN
    estimate = max(prompt, _most_tokens(call.request))
    admission = await limiter.admit(call.completion_id, caller.principal, tokens=estimate)
    try:
        yield admission.state
    finally:
        try:
            await limiter.settle(admission, tokens=_used(observation, prompt))
        except ServiceUnavailableError as error:
            logger.warning("rate_limit_not_settled", error=error.message)


def _most_tokens(request: CreateChatCompletion) -> int:
    return (request.max_completion_tokens or request.max_tokens or 0) * (request.n or 1)


def _used(observation: Observation, prompt: int) -> int:
    """What the usage says; without one the prompt's estimate and a token per chunk, or nothing if none came."""
    if observation.usage is not None:
        return observation.usage.total_tokens
    return prompt + observation.chunks if observation.chunks else 0
