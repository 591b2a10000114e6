"""The texts of an answer that are validated, and the verdict."""

from typing import Any

import pytest

from antiphon.backends.answer_validity import AnswerValidity
from antiphon.backends.backend import Validity
from antiphon.protocol.responses import ChatCompletionChunk, ChunkChoice, Delta, FunctionCallDelta, ToolCallDelta
from antiphon.rendering.unenforced import Unenforced

pytestmark = pytest.mark.anyio

CONTENT = Unenforced(paths=("a",), content={"title": "content"})
CALLS = Unenforced(paths=("a",), functions={"f": {"title": "f"}})


def chunk(delta: Delta, finish_reason: Any = None, index: int = 0) -> ChatCompletionChunk:  # noqa: ANN401 (a literal)
    choice = ChunkChoice(index=index, delta=delta, finish_reason=finish_reason)
    return ChatCompletionChunk(
        id="c", created=1, model="m", service_tier="default", system_fingerprint="fp", choices=[choice]
    )


def called(name: str, *pieces: str, index: int = 0) -> list[Delta]:
    first = ToolCallDelta(index=index, function=FunctionCallDelta(name=name, arguments=""))
    more = [ToolCallDelta(index=index, function=FunctionCallDelta(arguments=piece)) for piece in pieces]
    return [Delta(tool_calls=[call]) for call in (first, *more)]


async def judged(
    unenforced: Unenforced, *chunks: ChatCompletionChunk, valid: bool | None = True
) -> tuple[Validity | None, list[tuple[str, list[str]]]]:
    """Return the verdict, and the texts that were validated with the title of their schema."""
    asked: list[tuple[str, list[str]]] = []

    async def is_valid(schema: dict[str, Any], texts: list[str]) -> bool | None:
        asked.append((schema["title"], texts))
        return valid

    validity = AnswerValidity(unenforced)
    for each in chunks:
        validity.add([each])
    return await validity.judge(is_valid), asked


async def test_answer_to_enforced_schemas_is_not_validated() -> None:
    assert (None, []) == await judged(Unenforced(), chunk(Delta(content="{}"), "stop"))


async def test_content_of_each_choice_is_validated() -> None:
    chunks = [chunk(Delta(content=text), index=index) for text, index in (("[", 0), ("{", 1), ("]", 0), ("}", 1))]
    assert ("valid", [("content", ["[]", "{}"])]) == await judged(CONTENT, *chunks)


@pytest.mark.parametrize(("verdict", "valid"), [("valid", True), ("invalid", False), ("unknown", None)])
async def test_verdict_is_that_of_the_validator(verdict: Validity, valid: bool | None) -> None:  # noqa: FBT001
    assert verdict == (await judged(CONTENT, chunk(Delta(content="1"), "stop"), valid=valid))[0]


async def test_choice_that_was_cut_is_not_validated() -> None:
    chunks = [chunk(Delta(content="[1"), "length"), chunk(Delta(content="[]"), "stop", index=1)]
    assert ("valid", [("content", ["[]"])]) == await judged(CONTENT, *chunks)


async def test_answer_of_calls_has_no_content_to_validate() -> None:
    assert ("valid", []) == await judged(CONTENT, *map(chunk, called("f", "{}")))


async def test_arguments_of_each_call_are_validated_with_the_schema_of_the_function() -> None:
    deltas = [*called("f", '{"a"', ": 1}"), *called("g", "{}", index=1), *called("f", "{}", index=2)]
    assert ("valid", [("f", ['{"a": 1}', "{}"])]) == await judged(CALLS, *map(chunk, deltas))


async def test_arguments_of_a_call_in_the_deprecated_form_are_validated() -> None:
    deltas = [FunctionCallDelta(name="f", arguments=""), FunctionCallDelta(arguments="{}")]
    chunks = [chunk(Delta(function_call=delta)) for delta in deltas]
    assert ("valid", [("f", ["{}"])]) == await judged(CALLS, *chunks)
