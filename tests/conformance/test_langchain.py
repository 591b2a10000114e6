"""LangChain's client of this API, against the running server with the bundled model."""

from typing import Annotated, Literal

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from tests.conformance.conftest import MODEL, WAIT
from tests.conftest import LiveServer

ASKED = "How is the weather in Rome?"


class Forecast(BaseModel):
    """The weather of a city."""

    model_config = ConfigDict(extra="forbid")
    city: Literal["Paris", "Rome", "Oslo"]
    sky: Literal["sunny", "cloudy"]
    degrees: Annotated[int, Field(ge=-20, le=40)]


@tool
def look_up(city: Literal["Paris", "Rome"], days: Annotated[int, Field(ge=1, le=7)]) -> str:
    """Look up the weather."""
    return f"{city}: {days} days of sun"


@pytest.fixture(scope="module")
def model(server: LiveServer) -> ChatOpenAI:
    """LangChain's model that asks the running server."""
    return ChatOpenAI(
        base_url=f"{server.url}/v1",
        api_key=SecretStr("unused"),
        model=MODEL,
        temperature=0,
        max_retries=0,
        timeout=WAIT,
        max_completion_tokens=200,
    )


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output_is_the_pydantic_model(
    model: ChatOpenAI, method: Literal["json_schema", "function_calling"]
) -> None:
    answer = model.with_structured_output(Forecast, method=method).invoke(ASKED)
    assert isinstance(answer, Forecast)


def test_structured_output_keeps_the_raw_answer_beside_the_parsed_one(model: ChatOpenAI) -> None:
    answer = model.with_structured_output(Forecast, method="json_schema", include_raw=True).invoke(ASKED)
    assert isinstance(answer, dict)
    assert (None, Forecast.model_validate_json(answer["raw"].content)) == (answer["parsing_error"], answer["parsed"])


def test_structured_output_of_a_json_schema_is_a_dictionary(model: ChatOpenAI) -> None:
    answer = model.with_structured_output(Forecast.model_json_schema(), method="json_schema").invoke(ASKED)
    assert isinstance(answer, dict)
    assert answer == Forecast.model_validate(answer).model_dump()


@pytest.mark.anyio
async def test_structured_output_is_given_asynchronously(model: ChatOpenAI) -> None:
    assert isinstance(await model.with_structured_output(Forecast).ainvoke(ASKED), Forecast)


def test_bound_tools_are_called_when_any_must_be(model: ChatOpenAI) -> None:
    answer = model.bind_tools([look_up], tool_choice="any", parallel_tool_calls=False).invoke(ASKED)
    assert isinstance(answer, AIMessage)
    (call,) = answer.tool_calls
    assert "look_up" == call["name"]
    assert look_up.invoke(call["args"]) == f"{call['args']['city']}: {call['args']['days']} days of sun"
    assert "tool_calls" == answer.response_metadata["finish_reason"]


def test_a_bound_tool_is_called_by_its_name(model: ChatOpenAI) -> None:
    answer = model.bind_tools([look_up, Forecast], tool_choice="Forecast").invoke(ASKED)
    assert isinstance(answer, AIMessage)
    assert ["Forecast"] == [call["name"] for call in answer.tool_calls]
    Forecast.model_validate(answer.tool_calls[0]["args"])


def test_streamed_calls_add_up_to_those_that_are_not_streamed(model: ChatOpenAI) -> None:
    bound = model.bind_tools([look_up], tool_choice="any", parallel_tool_calls=False)
    whole, total = bound.invoke(ASKED), AIMessageChunk(content="")
    for chunk in bound.stream(ASKED):
        assert isinstance(chunk, AIMessageChunk)
        total += chunk
    assert isinstance(whole, AIMessage)
    assert [(call["name"], call["args"]) for call in whole.tool_calls] == [
        (call["name"], call["args"]) for call in total.tool_calls
    ]


def test_a_tools_result_goes_back_to_the_model(model: ChatOpenAI) -> None:
    call = model.bind_tools([look_up], tool_choice="any", parallel_tool_calls=False).invoke(ASKED)
    assert isinstance(call, AIMessage)
    result = look_up.invoke(call.tool_calls[0])
    assert isinstance(result, ToolMessage)
    answer = model.bind_tools([look_up], tool_choice="none").invoke([HumanMessage(ASKED), call, result])
    assert isinstance(answer, AIMessage)
    assert (True, []) == (bool(answer.content), answer.tool_calls)
