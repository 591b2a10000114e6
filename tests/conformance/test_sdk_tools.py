"""The official SDK's tools, against the running server with the bundled model.

Whether a model of 135M parameters calls of its own accord is its own affair: where it may choose, tests hold both ways
to what they must be. Parameters are bounded everywhere, because it does not find the end of a text by itself.
"""

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import openai
import pytest
from openai import OpenAI, pydantic_function_tool
from openai.types.chat import ChatCompletion, ParsedChatCompletion
from openai.types.chat.chat_completion import Choice
from pydantic import BaseModel, Field

from antiphon.chat_formats.chat_format import CUSTOM_CALL, HERMES
from antiphon.engine.models.tokenizer import Tokenizer
from tests.conformance.conftest import MODEL

ASKED: list[Any] = [{"role": "user", "content": "What is the weather in Rome? And call a taxi."}]
MAX_TOKENS = 200
LIKING = 14
"""Of the tokens that a call begins with, where the model may choose."""


class Weather(BaseModel):
    """Look up the weather of a city."""

    city: Literal["Paris", "Rome", "Oslo"]
    days: Annotated[int, Field(ge=1, le=7)]


class Route(BaseModel):
    """Where a taxi goes."""

    start: Annotated[str, Field(max_length=8)]
    stops: Annotated[list[Literal["station", "harbour"]], Field(max_length=2)]


class Taxi(BaseModel):
    """Call a taxi."""

    route: Route
    luggage: bool | None


MODELS: dict[str, type[BaseModel]] = {"Weather": Weather, "Taxi": Taxi}
TOOLS: list[Any] = [pydantic_function_tool(Weather), pydantic_function_tool(Taxi)]
LARK = 'start: verb " " NUMBER\nverb: "add" | "drop"\nNUMBER: /[1-9][0-9]{0,2}/'
REGEX = "(north|south)-[0-9]{3}"
EXPECTED = {"lark": "(add|drop) [1-9][0-9]{0,2}", "regex": REGEX}
EXAMPLES = {"lark": "add 7", "regex": "north-120"}
NAMED: Any = {"type": "function", "function": {"name": "Taxi"}}


def custom(name: str, syntax: str, definition: str) -> dict[str, Any]:
    form = {"type": "grammar", "grammar": {"syntax": syntax, "definition": definition}}
    return {"type": "custom", "custom": {"name": name, "description": "Steers the robot.", "format": form}}


def allowed(mode: str, *names: str) -> dict[str, Any]:
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}


def turn(question: str, call: dict[str, Any]) -> list[Any]:
    """A question that was answered by a call, and the call's result."""
    answer = {"role": "assistant", "content": None, "tool_calls": [{"id": "call_0", **call}]}
    return [
        {"role": "user", "content": question},
        answer,
        {"role": "tool", "tool_call_id": "call_0", "content": "Done."},
    ]


def weather_turn(city: str, days: int) -> list[Any]:
    function = {"name": "Weather", "arguments": json.dumps({"city": city, "days": days})}
    return turn(f"Weather in {city} for {days} days?", {"type": "function", "function": function})


def robot_turn(question: str, text: str) -> list[Any]:
    return turn(question, {"type": "custom", "custom": {"name": "robot", "input": text}})


CHOOSING: dict[str, Any] = {
    "messages": [*weather_turn("Paris", 2), {"role": "user", "content": "Weather in Rome for 4 days?"}],
    "tools": TOOLS,
    "max_completion_tokens": 60,
}
"""A request that the model may answer with a call, as it did before."""


def liking(model_path: Path, text: str) -> dict[str, int]:
    """A liking for the text's tokens, which makes this small model call now and then where it may choose."""
    tokenizer = Tokenizer.open(str(model_path))
    liked = {str(token): LIKING for token in tokenizer.encode(text)}
    tokenizer.close()
    return liked


@pytest.fixture(scope="module")
def bias(smollm2_path: Path) -> dict[str, int]:
    """A liking for calls of functions."""
    return liking(smollm2_path, HERMES.triggers[0])


@pytest.fixture(scope="module")
def custom_bias(smollm2_path: Path) -> dict[str, int]:
    """A liking for calls of custom tools."""
    return liking(smollm2_path, CUSTOM_CALL.start)


def create(client: OpenAI, **fields: Any) -> ChatCompletion:  # noqa: ANN401 (request fields)
    fields = {"messages": ASKED, "max_completion_tokens": MAX_TOKENS, "temperature": 0, **fields}
    completion = client.chat.completions.create(model=MODEL, **fields)
    assert isinstance(completion, ChatCompletion)
    return completion


def parse(client: OpenAI, **fields: Any) -> ParsedChatCompletion[None]:  # noqa: ANN401 (request fields)
    fields = {"tools": TOOLS, "max_completion_tokens": MAX_TOKENS, "temperature": 0, **fields}
    return client.chat.completions.parse(model=MODEL, messages=ASKED, **fields)


def streamed(client: OpenAI, **fields: Any) -> ChatCompletion:  # noqa: ANN401 (request fields)
    """What :func:`create` gives, out of a stream."""
    fields = {"messages": ASKED, "max_completion_tokens": MAX_TOKENS, "temperature": 0, **fields}
    with client.chat.completions.stream(model=MODEL, **fields) as events:
        return events.get_final_completion()


def told(completion: ChatCompletion) -> tuple[list[tuple[str, str]], str | None, str]:
    """Calls, text and end."""
    choice = completion.choices[0]
    return functions(completion), choice.message.content, choice.finish_reason


def functions(completion: ChatCompletion) -> list[tuple[str, str]]:
    """Name and arguments of each call."""
    calls = completion.choices[0].message.tool_calls or []
    return [(call.function.name, call.function.arguments) for call in calls if call.type == "function"]


def inputs(choice: Choice) -> list[str]:
    """Input of each call of a custom tool."""
    return [call.custom.input for call in choice.message.tool_calls or [] if call.type == "custom"]


def check_calls(choice: Choice) -> None:
    for call in choice.message.tool_calls or []:
        assert "function" == call.type
        MODELS[call.function.name].model_validate_json(call.function.arguments, strict=True)


@pytest.fixture(scope="module")
def required(client: OpenAI) -> ParsedChatCompletion[None]:
    """One parsed answer that had to call, for the tests that only look at it. It would call again and again."""
    return parse(client, tool_choice="required", parallel_tool_calls=False)


@pytest.fixture(scope="module")
def named(client: OpenAI) -> ParsedChatCompletion[None]:
    """One parsed answer that had to call one function."""
    return parse(client, tool_choice=NAMED)


def test_required_gives_calls_that_are_parsed_as_their_models(required: ParsedChatCompletion[None]) -> None:
    calls = required.choices[0].message.tool_calls or []
    assert calls
    assert [MODELS[call.function.name] for call in calls] == [type(call.function.parsed_arguments) for call in calls]


def test_required_ends_in_tool_calls(required: ParsedChatCompletion[None]) -> None:
    assert ("tool_calls", None) == (required.choices[0].finish_reason, required.choices[0].message.content)


def test_a_named_function_is_called_once_and_ends_in_stop(named: ParsedChatCompletion[None]) -> None:
    (call,) = named.choices[0].message.tool_calls or []
    assert ("Taxi", Taxi) == (call.function.name, type(call.function.parsed_arguments))
    assert "stop" == named.choices[0].finish_reason


def test_ids_of_calls_are_unique(required: ParsedChatCompletion[None], named: ParsedChatCompletion[None]) -> None:
    calls = [call for answer in (required, named) for call in answer.choices[0].message.tool_calls or []]
    assert len(calls) == len({call.id for call in calls})
    assert all(re.fullmatch(r"call_\w{24,}", call.id) for call in calls)


@pytest.mark.parametrize("seed", [1, 2])
def test_what_auto_calls_is_parsed_and_told_by_the_finish_reason(
    client: OpenAI, bias: dict[str, int], seed: int
) -> None:
    completion = create(client, **CHOOSING, logit_bias=bias, temperature=1.5, seed=seed, n=4)
    ended = [choice for choice in completion.choices if choice.finish_reason != "length"]
    assert any(choice.message.tool_calls for choice in ended)
    for choice in ended:
        check_calls(choice)
        assert ("tool_calls" if choice.message.tool_calls else "stop") == choice.finish_reason


def test_a_stream_that_may_call_is_the_answer_that_is_not_streamed(client: OpenAI, bias: dict[str, int]) -> None:
    """In one of three tries: what was cached meanwhile may move an answer's near ties, and does so once."""
    tries = ((f(client, **CHOOSING, logit_bias=bias) for f in (create, streamed)) for _ in range(3))
    assert any(told(whole) == told(stream) for whole, stream in tries)


def test_none_gives_text(client: OpenAI) -> None:
    message = create(client, tools=TOOLS, tool_choice="none", max_completion_tokens=20).choices[0].message
    assert (True, None) == (bool(message.content), message.tool_calls)


def test_without_parallel_calls_there_is_one_call(client: OpenAI, required: ParsedChatCompletion[None]) -> None:
    (only,) = functions(required)
    calls = functions(create(client, tools=TOOLS, tool_choice="required"))
    for name, arguments in [only, *calls[:-1]]:  # the last one may be cut short
        MODELS[name].model_validate_json(arguments, strict=True)


def test_without_parallel_calls_auto_calls_once_at_most(client: OpenAI, bias: dict[str, int]) -> None:
    completion = create(client, **CHOOSING, logit_bias=bias, parallel_tool_calls=False, n=4, temperature=1.2, seed=5)
    assert {0, 1} >= {len(choice.message.tool_calls or []) for choice in completion.choices}


def forced(choice: object) -> dict[str, Any]:
    named = choice if isinstance(choice, dict) and "name" in choice else None
    if named:
        return {"functions": [{"name": "Weather"}], "function_call": named}
    return {"tools": [custom("robot", "regex", REGEX)] if "robot" in str(choice) else TOOLS[:1], "tool_choice": choice}


@pytest.mark.parametrize("choice", [
    "required", {"type": "function", "function": {"name": "Weather"}}, {"name": "Weather"},
    {"type": "custom", "custom": {"name": "robot"}},
], ids=str)  # fmt: skip
def test_forced_call_that_three_tokens_cut_short_has_no_content(client: OpenAI, choice: object) -> None:
    fields = {**forced(choice), "max_completion_tokens": 3, "logprobs": True}
    (whole,) = create(client, **fields).choices
    assert whole.logprobs is not None
    assert ("", [], "length") == (whole.message.content or "", whole.logprobs.content, whole.finish_reason)
    stream = client.chat.completions.create(model=MODEL, messages=ASKED, stream=True, temperature=0, **fields)
    parts = [choice for chunk in stream for choice in chunk.choices]
    assert {None, ""} >= {part.delta.content for part in parts}
    assert [] == [entry for part in parts if part.logprobs for entry in part.logprobs.content or []]


@pytest.mark.parametrize("name", ["Weather", "Taxi"])
def test_required_of_the_allowed_tools_calls_them_alone(client: OpenAI, name: str) -> None:
    completion = create(client, tools=TOOLS, tool_choice=allowed("required", name), parallel_tool_calls=False)
    assert [name] == [called for called, _ in functions(completion)]
    assert "tool_calls" == completion.choices[0].finish_reason


def test_auto_of_the_allowed_tools_calls_no_other(client: OpenAI, bias: dict[str, int]) -> None:
    fields = {**CHOOSING, "tool_choice": allowed("auto", "Taxi"), "logit_bias": bias}
    completion = create(client, **fields, n=4, temperature=1.5, seed=8)
    calls = [call for choice in completion.choices for call in choice.message.tool_calls or []]
    assert {"Taxi"} >= {call.function.name for call in calls if call.type == "function"}


def test_allowed_tools_leave_the_prompt_as_it_is_cached(client: OpenAI) -> None:
    one, other = (
        create(client, tools=TOOLS, tool_choice=allowed("required", name), max_completion_tokens=1).usage
        for name in ("Weather", "Taxi")
    )
    assert one is not None
    assert other is not None
    assert other.prompt_tokens_details is not None
    assert (one.prompt_tokens, one.prompt_tokens - 1) == (
        other.prompt_tokens,
        other.prompt_tokens_details.cached_tokens,
    )


def test_a_stream_of_calls_ends_in_the_answer_that_is_not_streamed(client: OpenAI) -> None:
    """In one of three tries, as above."""
    asked: dict[str, Any] = {"tools": TOOLS, "tool_choice": "required", "parallel_tool_calls": False}
    tries = ((create(client, **asked), streamed(client, **asked)) for _ in range(3))
    assert any(told(whole) == told(stream) for whole, stream in tries)


def test_the_events_of_a_stream_of_calls_tell_what_the_answer_tells(client: OpenAI) -> None:
    asked: dict[str, Any] = {"tools": TOOLS, "tool_choice": "required", "parallel_tool_calls": False}
    with client.chat.completions.stream(
        model=MODEL, messages=ASKED, max_completion_tokens=MAX_TOKENS, temperature=0, **asked
    ) as events:
        seen = list(events)
        calls = functions(events.get_final_completion())
    deltas = [event for event in seen if event.type == "tool_calls.function.arguments.delta"]
    done = [event for event in seen if event.type == "tool_calls.function.arguments.done"]
    spelled = [
        "".join(event.arguments_delta for event in deltas if event.index == index) for index in range(len(calls))
    ]
    assert [arguments for _, arguments in calls] == spelled
    assert calls == [(event.name, event.arguments) for event in done]
    assert [MODELS[name] for name, _ in calls] == [type(event.parsed_arguments) for event in done]


def test_the_first_delta_of_a_call_has_its_name_and_id_and_no_later_one(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model=MODEL,
        messages=ASKED,
        tools=TOOLS,
        tool_choice=NAMED,
        max_completion_tokens=MAX_TOKENS,
        temperature=0,
        stream=True,
    )
    with stream:
        deltas = [call for chunk in stream for choice in chunk.choices for call in choice.delta.tool_calls or []]
    first, *later = deltas
    assert first.function is not None
    assert ("Taxi", True) == (first.function.name, bool(first.id))
    assert [(None, None)] * len(later) == [(call.id, call.function.name if call.function else "") for call in later]


def test_a_call_and_its_result_can_be_sent_back(client: OpenAI, named: ParsedChatCompletion[None]) -> None:
    (call,) = named.choices[0].message.tool_calls or []
    history = [*ASKED, _as_history(named), {"role": "tool", "tool_call_id": call.id, "content": "It is on its way."}]
    completion = create(client, messages=history, tools=TOOLS, max_completion_tokens=20)
    assert completion.choices[0].message.content or completion.choices[0].message.tool_calls


def _as_history(completion: ParsedChatCompletion[None]) -> dict[str, Any]:
    """The answer without what the SDK adds to it."""
    message = completion.choices[0].message.to_dict()
    del message["parsed"]
    for call in cast("list[Any]", message["tool_calls"]):
        del call["function"]["parsed_arguments"]
    return message


@pytest.mark.parametrize(("call", "reason"), [({"name": "Weather"}, "stop"), ("auto", "function_call")])
def test_the_deprecated_functions_are_answered_in_their_own_form(
    client: OpenAI, bias: dict[str, int], call: dict[str, str] | str, reason: str
) -> None:
    definitions = [{**tool["function"]} for tool in TOOLS]
    for definition in definitions:
        del definition["strict"]
    fields = {"functions": definitions, "function_call": call, "messages": CHOOSING["messages"], "logit_bias": bias}
    choice = create(client, **fields).choices[0]
    called = choice.message.function_call
    assert called is not None
    MODELS[called.name].model_validate_json(called.arguments, strict=True)
    assert (None, reason) == (choice.message.tool_calls, choice.finish_reason)


@pytest.mark.parametrize(("syntax", "definition"), [("lark", LARK), ("regex", REGEX)], ids=["lark", "regex"])
@pytest.mark.parametrize("choice", ["auto", "required", {"type": "custom", "custom": {"name": "robot"}}], ids=str)
def test_the_input_of_a_custom_tool_keeps_to_its_grammar(
    client: OpenAI, custom_bias: dict[str, int], syntax: str, definition: str, choice: object
) -> None:
    messages = [*robot_turn("Go.", EXAMPLES[syntax]), {"role": "user", "content": "Go again."}]
    fields = {"messages": messages, "tools": [custom("robot", syntax, definition)], "max_completion_tokens": 40}
    completion = create(client, **fields, tool_choice=choice, logit_bias=custom_bias, temperature=1.5, seed=4, n=3)
    texts = [text for one in completion.choices for text in inputs(one)]
    assert texts
    assert [] == [text for text in texts if not re.fullmatch(EXPECTED[syntax], text)]


def test_functions_and_custom_tools_go_together(client: OpenAI) -> None:
    tools = [*TOOLS, custom("robot", "regex", REGEX)]
    named_custom = {"type": "custom", "custom": {"name": "robot"}}
    completion = create(client, tools=tools, tool_choice=named_custom)
    assert ([], 1) == (functions(completion), len(inputs(completion.choices[0])))
    assert "stop" == completion.choices[0].finish_reason


def test_strict_parameters_that_cannot_be_enforced_are_refused_by_keyword_and_path(client: OpenAI) -> None:
    tags = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}
    parameters = {"type": "object", "properties": {"tags": tags}}
    tool = {"type": "function", "function": {"name": "tag", "strict": True, "parameters": parameters}}
    with pytest.raises(openai.BadRequestError, match="uniqueItems") as caught:
        create(client, tools=[tool])
    assert "In context=('properties', 'tags')" in caught.value.message
    assert ("tools[0].function.parameters", "invalid_function_parameters") == (caught.value.param, caught.value.code)


def test_arguments_of_a_call_are_one_json_object(required: ParsedChatCompletion[None]) -> None:
    assert [dict] * len(functions(required)) == [type(json.loads(arguments)) for _, arguments in functions(required)]
