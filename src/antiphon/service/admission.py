"""Admits requests by the rate limits of project, key and end user, and charges the tokens used."""

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
from antiphon.service.records import RequestStats
from antiphon.store.limits import RateLimiter

BYTES_PER_TOKEN = 4
"""Bytes of a prompt's JSON per token, for the estimate before tokenisation. Reference: rate limits."""

_encode = msgspec.json.Encoder().encode
logger = structlog.get_logger(__name__)


def admitted(
    limiter: RateLimiter | None, call: Call, caller: Caller, stats: RequestStats
) -> AbstractAsyncContextManager[RateLimitState]:
    """Admit a request for the block; yield the rest of its limits. Raises RateLimitError.

    It is charged an estimate first, and at its end the tokens used, see :func:`_used`.
    """
    if limiter is None or not limiter.active:
        return nullcontext(RateLimitState())
    return _limited(limiter, call, caller, stats)


@asynccontextmanager
async def _limited(
    limiter: RateLimiter, call: Call, caller: Caller, stats: RequestStats
) -> AsyncGenerator[RateLimitState, None]:
    prompt = _prompt_tokens(call.request)
    estimate = max(prompt, _most_tokens(call.request))
    end_user = end_user_name(caller.project, call.request)
    admission = await limiter.admit(call.completion_id, caller.principal, tokens=estimate, end_user=end_user)
    try:
        yield admission.state
    finally:
        try:
            await limiter.settle(admission, tokens=_used(stats, prompt))
        except ServiceUnavailableError as error:
            logger.warning("rate_limit_not_settled", error=error.message)


def _prompt_tokens(request: CreateChatCompletion) -> int:
    """Estimate the tokens of the messages, tools and format of a request."""
    parts = (request.messages, request.tools, request.functions, request.response_format)
    return sum(len(_encode(part)) for part in parts if part is not None) // BYTES_PER_TOKEN


def _most_tokens(request: CreateChatCompletion) -> int:
    return (request.answer_limit or 0) * (request.n or 1)


def _used(stats: RequestStats, estimate: int) -> int:
    """Return the tokens that a request is charged: its usage, if the answer is complete.

    A partial answer is charged the prompt, once the engine has begun it, and every generated token. After a disconnect
    before that, the prompt's estimate is charged, so that aborted requests are not free. A request that was refused, or
    failed before the engine began, is charged no tokens.
    """
    if stats.usage is not None:
        return stats.usage.total_tokens
    spent = stats.spent
    if spent.prompt_tokens or stats.chunks:
        return (spent.prompt_tokens or estimate) + (spent.completion_tokens or stats.chunks)
    return 0 if stats.error else estimate
