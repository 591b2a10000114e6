"""The interface of a stage, such as moderation: it changes the call for the backend and the parts of the answer."""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Protocol

from antiphon.backends.backend import AnswerParts, Call


class Stage(Protocol):
    """One stage. Only the generator that :meth:`after` returns holds state of a request."""

    async def before(self, call: Call) -> Call:
        """Return the call for the next stage or the backend.

        Raises an ``APIError`` to refuse the request; then no later stage and no backend gets it.
        """

    def after(self, call: Call, parts: AnswerParts) -> AnswerParts:
        """Yield the parts that the client gets instead of ``parts``.

        :meth:`before` returned ``call``. Errors of ``parts`` pass through. An ``APIError`` that the generator raises
        ends the answer as a backend's error does.
        """


def through_stages(stages: Sequence[Stage], call: Call, answer: Callable[[Call], AnswerParts]) -> AnswerParts:
    """Stream the backend's answer as changed by the stages, the outermost first.

    ``answer`` streams the backend's answer to a call. At the end, also after an error, each stage's generator is closed
    before the generator that it reads.
    """
    return _with_stages(stages, call, answer) if stages else answer(call)


async def _with_stages(stages: Sequence[Stage], call: Call, answer: Callable[[Call], AnswerParts]) -> AnswerParts:
    calls = []
    for stage in stages:
        call = await stage.before(call)
        calls.append(call)
    async with AsyncExitStack() as stack:
        parts = await stack.enter_async_context(aclosing(answer(call)))
        for stage, staged_call in zip(reversed(stages), reversed(calls), strict=True):
            parts = await stack.enter_async_context(aclosing(stage.after(staged_call, parts)))
        async for part in parts:
            yield part
