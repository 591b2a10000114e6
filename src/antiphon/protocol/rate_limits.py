"""The headers that tell a client how much of its rate limits is left. Reference: rate limits in headers."""

from msgspec import Struct

_UNITS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms"))
"""Milliseconds, and the letters that the reference's service writes: ``6m0s``, ``120ms``."""


class Allowance(Struct, frozen=True, kw_only=True):
    """What is left of one limit; ``reset`` is in seconds until it is full again."""

    limit: int
    remaining: int
    reset: float


class RateLimitState(Struct, frozen=True, kw_only=True):
    """Of project, key and end user the scope that has less left; None where there is no limit."""

    requests: Allowance | None = None
    tokens: Allowance | None = None


def rate_limit_headers(state: RateLimitState) -> dict[str, str]:
    """Return ``x-ratelimit-{limit,remaining,reset}-{requests,tokens}``, of the limits that there are."""
    headers = {}
    for name, allowance in (("requests", state.requests), ("tokens", state.tokens)):
        if allowance is not None:
            headers[f"x-ratelimit-limit-{name}"] = str(allowance.limit)
            headers[f"x-ratelimit-remaining-{name}"] = str(allowance.remaining)
            headers[f"x-ratelimit-reset-{name}"] = duration(allowance.reset)
    return headers


def duration(seconds: float) -> str:
    """Write seconds as the reference does, with its two largest units: ``1s``, ``6m0s``, ``17ms``."""
    milliseconds = round(seconds * 1000)
    for index, (size, letter) in enumerate(_UNITS):
        if milliseconds >= size:
            whole, rest = divmod(milliseconds, size)
            small, small_letter = _UNITS[min(index + 1, len(_UNITS) - 1)]
            # Below a second nothing but milliseconds is written, beside whole seconds nothing is.
            return f"{whole}{letter}" + (f"{rest // small}{small_letter}" if size > 1000 else "")  # noqa: PLR2004
    return "0s"
