"""Tries one candidate after the other until one begins to answer."""

from collections.abc import Sequence
from contextlib import aclosing

from antiphon.backends.backend import AnswerParts, Backend, Call
from antiphon.errors import RateLimitError, ServiceUnavailableError


def first_available(candidates: Sequence[Backend], call: Call) -> AnswerParts:
    """Stream the answer of the first candidate that can take the request.

    A candidate that is unavailable or full before its first chunk gives way to the next. Every other error, and the
    last candidate's, is raised. After the first chunk the answer is that candidate's: a client has seen its beginning.
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
