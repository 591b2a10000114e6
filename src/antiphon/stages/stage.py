"""The seam for what is done around an answer, such as moderation: a stage sees the call before, the parts after."""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Protocol

from antiphon.backends.backend import AnswerParts, Call


class Stage(Protocol):
    """One stage. It holds no state of a request but in the generator that :meth:`after` returns."""

    async def before(self, call: Call) -> Call:
        """Return the call that goes on to the next stage and in the end to the backend.

        Raises an ``APIError`` to refuse the request; then no later stage and no backend sees it.
        """

    def after(self, call: Call, parts: AnswerParts) -> AnswerParts:
        """Return the parts that the client gets instead of ``parts``.

        ``call`` is the one that :meth:`before` returned. Errors of ``parts`` pass through; the generator may raise an
        ``APIError`` of its own, which ends the answer as a backend's error does.
        """


def through_stages(stages: Sequence[Stage], call: Call, answer: Callable[[Call], AnswerParts]) -> AnswerParts:
    """Answer through the stages, the outermost first.

    ``answer`` streams what the backend says to the call that the last stage returned. However the answer ends, each
    stage's generator is closed before the one that it reads from.
    """
    return _surrounded(stages, call, answer) if stages else answer(call)


async def _surrounded(stages: Sequence[Stage], call: Call, answer: Callable[[Call], AnswerParts]) -> AnswerParts:
    calls = []
    for stage in stages:
        call = await stage.before(call)
        calls.append(call)
    async with AsyncExitStack() as stack:
        parts = await stack.enter_async_context(aclosing(answer(call)))
        for stage, seen in zip(reversed(stages), reversed(calls), strict=True):
            parts = await stack.enter_async_context(aclosing(stage.after(seen, parts)))
        async for part in parts:
            yield part
