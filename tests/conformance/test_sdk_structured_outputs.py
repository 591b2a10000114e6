"""The official SDK's structured outputs, against the running server with the bundled model.

Schemas are bounded everywhere: a model of 135M parameters does not find the end of a text by itself.
"""

import json
from enum import StrEnum
from typing import Annotated, Any, Literal

import openai
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam, ParsedChatCompletion
from pydantic import BaseModel, Field

from tests.conformance.conftest import MODEL

ASKED: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Describe a pet and its owner."}]
MAX_TOKENS = 200


class Colour(StrEnum):
    BLACK = "black"
    WHITE = "white"
    BROWN = "brown"


class Owner(BaseModel):
    name: Annotated[str, Field(max_length=8)]
    age: Annotated[int, Field(ge=18, le=99)]


class Pet(BaseModel):
    """An animal of a household."""

    kind: Literal["cat", "dog"]
    colour: Colour
    owner: Owner
    nickname: Annotated[str, Field(max_length=6)] | None
    weights: Annotated[list[Annotated[int, Field(ge=1, le=40)]], Field(min_length=2, max_length=3)]


def schema_format(schema: dict[str, Any], *, strict: bool) -> Any:  # noqa: ANN401 (a TypedDict of the SDK)
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": strict, "schema": schema}}


def create(client: OpenAI, **fields: Any) -> ChatCompletion:  # noqa: ANN401 (request fields)
    fields = {"max_completion_tokens": MAX_TOKENS, "temperature": 0, **fields}
    completion = client.chat.completions.create(model=MODEL, messages=ASKED, **fields)
    assert isinstance(completion, ChatCompletion)
    return completion


def content(completion: ChatCompletion) -> str:
    text = completion.choices[0].message.content
    assert text is not None
    return text


@pytest.fixture(scope="module")
def pet(client: OpenAI) -> ParsedChatCompletion[Pet]:
    """One parsed answer, for the tests that only look at it."""
    return client.chat.completions.parse(
        model=MODEL, messages=ASKED, response_format=Pet, max_completion_tokens=MAX_TOKENS, temperature=0
    )


def test_a_model_is_parsed_with_its_nested_model_its_enum_and_its_list(pet: ParsedChatCompletion[Pet]) -> None:
    parsed = pet.choices[0].message.parsed
    assert isinstance(parsed, Pet)
    assert Pet.model_validate_json(content(pet), strict=True) == parsed


def test_a_parsed_answer_ends_by_itself(pet: ParsedChatCompletion[Pet]) -> None:
    assert "stop" == pet.choices[0].finish_reason


def test_properties_come_in_the_order_of_the_model(pet: ParsedChatCompletion[Pet]) -> None:
    assert list(Pet.model_fields) == list(json.loads(content(pet)))


@pytest.mark.parametrize("seed", [1, 2])
def test_every_choice_is_parsed_at_a_high_temperature(client: OpenAI, seed: int) -> None:
    completion = client.chat.completions.parse(
        model=MODEL,
        messages=ASKED,
        response_format=Pet,
        max_completion_tokens=MAX_TOKENS,
        temperature=1.5,
        seed=seed,
        n=2,
    )
    assert [Pet, Pet] == [type(choice.message.parsed) for choice in completion.choices]


def test_the_stream_ends_in_the_parsed_answer(client: OpenAI) -> None:
    with client.chat.completions.stream(
        model=MODEL, messages=ASKED, response_format=Pet, max_completion_tokens=MAX_TOKENS, temperature=0
    ) as events:
        deltas = [event.delta for event in events if event.type == "content.delta"]
        final = events.get_final_completion()
    assert "".join(deltas) == content(final)
    assert Pet.model_validate_json(content(final), strict=True) == final.choices[0].message.parsed
    assert "stop" == final.choices[0].finish_reason


def test_the_stream_tells_that_the_content_is_done_with_the_parsed_model(client: OpenAI) -> None:
    with client.chat.completions.stream(
        model=MODEL, messages=ASKED, response_format=Pet, max_completion_tokens=MAX_TOKENS, temperature=0
    ) as events:
        done = [event.parsed for event in events if event.type == "content.done"]
        final = events.get_final_completion()
    assert [final.choices[0].message.parsed] == done


def test_an_answer_that_is_cut_short_is_the_sdks_length_error(client: OpenAI) -> None:
    with pytest.raises(openai.LengthFinishReasonError) as caught:
        client.chat.completions.parse(model=MODEL, messages=ASKED, response_format=Pet, max_completion_tokens=4)
    assert content(caught.value.completion).startswith('{"kind": "')


def test_json_object_gives_an_object(client: OpenAI) -> None:
    completion = create(client, response_format={"type": "json_object"}, max_completion_tokens=60)
    assert "{" == content(completion)[0]
    assert completion.choices[0].finish_reason == "length" or isinstance(json.loads(content(completion)), dict)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_without_strict_the_whole_schema_is_enforced_all_the_same(client: OpenAI, seed: int) -> None:
    schema = {
        "type": "object",
        "properties": {"even": {"type": "integer", "multipleOf": 2, "minimum": 0, "maximum": 98}, "odd": {"const": 7}},
        "required": ["even"],
        "minProperties": 2,
        "additionalProperties": False,
    }
    answer = content(create(client, response_format=schema_format(schema, strict=False), temperature=1.5, seed=seed))
    even = json.loads(answer)["even"]
    assert {"even": even - even % 2, "odd": 7} == json.loads(answer)


def test_a_stop_string_ends_a_constrained_answer(client: OpenAI) -> None:
    schema = openai.pydantic_function_tool(Pet)["function"]["parameters"]
    form = schema_format(dict(schema), strict=True)
    whole = content(create(client, response_format=form))
    completion = create(client, response_format=form, stop='"owner"')
    assert '"owner"' in whole
    assert (whole.partition('"owner"')[0], "stop") == (content(completion), completion.choices[0].finish_reason)


def test_logprobs_of_a_constrained_answer_spell_it(client: OpenAI) -> None:
    schema = openai.pydantic_function_tool(Pet)["function"]["parameters"]
    completion = create(client, response_format=schema_format(dict(schema), strict=True), logprobs=True, top_logprobs=2)
    logprobs = completion.choices[0].logprobs
    assert logprobs is not None
    spelled = bytes(byte for token in logprobs.content or [] for byte in token.bytes or [])
    assert content(completion) == spelled.decode()
    assert all(token.logprob <= 0 for token in logprobs.content or [])


TAGS = {
    "type": "object",
    "properties": {"tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": True}},
    "required": ["tags"],
}


def test_strict_schema_that_cannot_be_enforced_is_refused_by_keyword_and_path(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        create(client, response_format=schema_format(TAGS, strict=True))
    assert "'uniqueItems' is not supported" in caught.value.message
    assert "In context=('properties', 'tags')" in caught.value.message
    assert "response_format.json_schema.schema" == caught.value.param


@pytest.mark.parametrize("stream", [False, True])
def test_header_names_the_keywords_of_other_schemas_that_are_not_enforced(client: OpenAI, *, stream: bool) -> None:
    answer = client.chat.completions.with_raw_response.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Name three colours."}],
        response_format=schema_format(TAGS, strict=False),
        max_completion_tokens=200,
        stream=stream,
    )
    expected = "response_format.json_schema.schema.properties.tags.uniqueItems"
    assert expected == answer.headers["x-antiphon-unenforced"]


def test_strict_schema_may_have_optional_properties(client: OpenAI) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"const": 1}}, "required": ["b"]}
    answer = json.loads(content(create(client, response_format=schema_format(schema, strict=True), seed=1)))
    assert {"b"} <= set(answer) <= {"a", "b"}
