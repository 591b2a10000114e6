"""The helpers of the official Python SDK in loops: what they add to an answer comes back with the next request."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from openai import OpenAI, pydantic_function_tool
from openai.types.chat import ParsedChatCompletion
from pydantic import BaseModel

from antiphon.protocol.path_header import IGNORED
from tests.conformance.helper_server import CALLS, MODEL, STRUCTURED, added, saying
from tests.server.conftest import NO_TLS, WAIT

Completion = ParsedChatCompletion[Any]
TURNS = 3


class Place(BaseModel):
    """A place."""

    city: str


TOOLS = [pydantic_function_tool(Place, name="find")]


def parsed(client: OpenAI, **fields: Any) -> Completion:  # noqa: ANN401 (of the request)
    return client.chat.completions.parse(model=MODEL, **fields)


def streamed(client: OpenAI, **fields: Any) -> Completion:  # noqa: ANN401 (of the request)
    with client.chat.completions.stream(model=MODEL, **fields) as stream:
        return stream.get_final_completion()


SENT_BACK: dict[str, Callable[[BaseModel], object]] = {
    "the message": lambda message: message,
    "its dump": lambda message: message.model_dump(),
    "its members": lambda message: message.to_dict(),  # type: ignore[attr-defined]
}
EVERY_HELPER = pytest.mark.parametrize("helper", [parsed, streamed])
EVERY_FORM = pytest.mark.parametrize("form", SENT_BACK.values(), ids=SENT_BACK)


class Recorder:
    """Keeps the bodies of requests and the paths that answers call ignored."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.ignored: list[str | None] = []

    @property
    def hooks(self) -> dict[str, list[Callable[..., None]]]:
        def on_request(request: httpx2.Request) -> None:
            self.bodies.append(json.loads(request.content))

        def on_response(response: httpx2.Response) -> None:
            self.ignored.append(response.headers.get(IGNORED))

        return {"request": [on_request], "response": [on_response]}


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def client(request: pytest.FixtureRequest, recorder: Recorder) -> Iterator[OpenAI]:
    """Return a client of a server whose model says the parameter in every turn."""
    http = httpx2.Client(trust_env=False, timeout=WAIT, verify=NO_TLS, event_hooks=recorder.hooks)
    with (
        saying([request.param] * TURNS) as url,
        OpenAI(base_url=url, api_key="unused", max_retries=0, http_client=http) as client,
    ):
        yield client


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")  # of the SDK's own types
@EVERY_HELPER
@EVERY_FORM
@pytest.mark.parametrize("client", [STRUCTURED], indirect=True)
def test_structured_answers_are_sent_back_for_three_turns(
    client: OpenAI, recorder: Recorder, helper: Callable[..., Completion], form: Callable[[BaseModel], object]
) -> None:
    messages: list[Any] = [{"role": "user", "content": "Where?"}]
    for _ in range(TURNS):
        answer = helper(client, messages=messages, response_format=Place).choices[0].message
        assert Place(city="Rome") == answer.parsed
        messages += [form(answer), {"role": "user", "content": "And then?"}]
    assert ({"messages[].parsed"}, [None] * TURNS) == (added(recorder.bodies), recorder.ignored)


@EVERY_HELPER
@EVERY_FORM
@pytest.mark.parametrize("client", [CALLS], indirect=True)
def test_calls_are_sent_back_with_their_results_for_three_turns(
    client: OpenAI, recorder: Recorder, helper: Callable[..., Completion], form: Callable[[BaseModel], object]
) -> None:
    messages: list[Any] = [{"role": "user", "content": "Where?"}]
    for _ in range(TURNS):
        answer = helper(client, messages=messages, tools=TOOLS).choices[0].message
        calls = answer.tool_calls or []
        assert [Place(city="Rome"), Place(city="Oslo")] == [call.function.parsed_arguments for call in calls]
        results = [{"role": "tool", "tool_call_id": call.id, "name": "find", "content": "here"} for call in calls]
        messages += [form(answer), *results]
    streams = {"messages[].tool_calls[].index"} if helper is streamed else set()
    expected = {"messages[].tool_calls[].function.parsed_arguments"} | streams
    assert (expected, [None] * TURNS) == (added(recorder.bodies), recorder.ignored)
