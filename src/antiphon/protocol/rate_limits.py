"""Response headers with the remaining rate limits of a client. Reference: rate limits in headers."""

from msgspec import Struct

_UNITS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms"))
"""The units of durations, in milliseconds, with the names in the reference's headers: ``6m0s``, ``120ms``."""


class Allowance(Struct, frozen=True, kw_only=True):
    """The state of one limit; ``reset`` is the number of seconds until it is full again."""

    limit: int
    remaining: int
    reset: float


class RateLimitState(Struct, frozen=True, kw_only=True):
    """For each limit the state of the project, the key or the end user that has least left; None without a limit."""

    requests: Allowance | None = None
    tokens: Allowance | None = None


def rate_limit_headers(state: RateLimitState) -> dict[str, str]:
    """Return the headers ``x-ratelimit-{limit,remaining,reset}-{requests,tokens}`` of the limits in ``state``."""
    headers = {}
    for name, allowance in (("requests", state.requests), ("tokens", state.tokens)):
        if allowance is not None:
            headers[f"x-ratelimit-limit-{name}"] = str(allowance.limit)
            headers[f"x-ratelimit-remaining-{name}"] = str(allowance.remaining)
            headers[f"x-ratelimit-reset-{name}"] = duration(allowance.reset)
    return headers


def duration(seconds: float) -> str:
    """Return seconds in the reference's form, with the two largest units: ``1s``, ``6m0s``, ``17ms``."""
    milliseconds = round(seconds * 1000)
    for index, (size, letter) in enumerate(_UNITS):
        if milliseconds >= size:
            whole, rest = divmod(milliseconds, size)
            small, small_letter = _UNITS[min(index + 1, len(_UNITS) - 1)]
            # A duration below one minute has one unit: seconds, or milliseconds below one second.
            return f"{whole}{letter}" + (f"{rest // small}{small_letter}" if size > 1000 else "")  # noqa: PLR2004
    return "0s"
