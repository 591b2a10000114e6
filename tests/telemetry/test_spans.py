import asyncio
from collections.abc import Mapping

import pytest

from antiphon.telemetry.spans import Attribute, FinishedSpan, current_span, serving_span


class Span:
    """A span that records nothing."""

    ids: Mapping[str, str] = {}

    def describe(self, name: str, attributes: Mapping[str, Attribute], error: str | None = None) -> None:
        pass

    def record(self, span: FinishedSpan) -> None:
        pass


def test_outside_a_request_there_is_no_span() -> None:
    with serving_span(Span()):
        pass
    assert current_span() is None


@pytest.mark.anyio
async def test_tasks_find_the_span_of_their_request() -> None:
    async def found() -> object:
        return current_span()

    span = Span()
    with serving_span(span):
        assert span is await asyncio.create_task(found())
