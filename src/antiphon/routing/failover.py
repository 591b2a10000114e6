"""Tries the candidates in order until one begins to answer."""

from collections.abc import Sequence
from contextlib import aclosing

from antiphon.backends.backend import AnswerParts, Backend, Call
from antiphon.errors import RateLimitError, ServiceUnavailableError


def first_available(candidates: Sequence[Backend], call: Call) -> AnswerParts:
    """Stream the answer of the first candidate that can take the request.

    After ``ServiceUnavailableError`` or ``RateLimitError`` before its first chunk, the next candidate is tried. Every
    other error, and every error of the last candidate, is raised. After its first chunk no other candidate is tried:
    the client has seen the beginning of the answer.
    """
    return _tried_in_turn(candidates, call) if len(candidates) > 1 else candidates[0].stream(call)


async def _tried_in_turn(candidates: Sequence[Backend], call: Call) -> AnswerParts:
    *others, last = candidates
    for backend in others:
        begun = False
        try:
            async with aclosing(backend.stream(call)) as parts:
                async for part in parts:
                    begun = begun or bool(part.chunks)
                    yield part
        except (ServiceUnavailableError, RateLimitError):
            if begun:
                raise
        else:
            return
    async with aclosing(last.stream(call)) as parts:
        async for part in parts:
            yield part
