"""The official SDK, sync and async, against the running server; its types check every answer."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx2
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types import Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionMessageParam
from pydantic import BaseModel

from antiphon.chat_formats.chat_format import ReasoningMarkers
from antiphon.config import ServerOptions
from antiphon.engine.interface import Started
from antiphon.errors import RateLimitError, ServiceUnavailableError
from antiphon.server import event_stream
from tests.scripted_engine import Hang, Item, Pause, ScriptedEngine, ScriptedRenderer, ends, says
from tests.server.conftest import MODEL, NO_TLS, WAIT, Server, StartServer

EXTENSIONS = {
    "choices.message.reasoning_content",
    "choices.delta.reasoning_content",
    "context_length",
    "input_modalities",
}
"""Documented fields that the reference does not have."""

HI: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hi there"}]
STARTED = Started(request_id="", cached_tokens=3)


def sync_client(server: Server) -> OpenAI:
    return OpenAI(
        base_url=f"{server.url}/v1",
        api_key="unused",
        max_retries=0,
        http_client=httpx2.Client(trust_env=False, timeout=WAIT, verify=NO_TLS),
    )


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[OpenAI]:
    with sync_client(server) as client:
        yield client


ClientOf = Callable[[Server], OpenAI]


@pytest.fixture
def client_of() -> Iterator[ClientOf]:
    """Make clients that end with the test."""
    with ExitStack() as stack:
        yield lambda server: stack.enter_context(sync_client(server))


@pytest.fixture
async def async_client(server: Server) -> AsyncIterator[AsyncOpenAI]:
    http_client = httpx2.AsyncClient(trust_env=False, timeout=WAIT, verify=NO_TLS)
    async with AsyncOpenAI(
        base_url=f"{server.url}/v1", api_key="unused", max_retries=0, http_client=http_client
    ) as client:
        yield client


def unknown_fields(value: object, path: str = "") -> set[str]:
    """Return the paths of fields that the SDK's types do not have."""
    if isinstance(value, list):
        return set().union(*(unknown_fields(item, path) for item in value))
    if not isinstance(value, BaseModel):
        return set()
    paths = {name: f"{path}.{name}".lstrip(".") for name in (*type(value).model_fields, *(value.model_extra or {}))}
    inner = [unknown_fields(getattr(value, name), paths[name]) for name in type(value).model_fields]
    return {paths[name] for name in value.model_extra or {}}.union(*inner)


def check(answer: BaseModel) -> None:
    """Judge an answer by its type: nothing of the wrong type, nothing missing, nothing unknown.

    The SDK itself builds its objects without validation.
    """
    type(answer).model_validate_json(answer.model_dump_json(exclude_unset=True), strict=True)
    assert set() == unknown_fields(answer) - EXTENSIONS


def create(client: OpenAI, **fields: Any) -> ChatCompletion:  # noqa: ANN401 - request fields
    completion = client.chat.completions.create(model=MODEL, messages=HI, **fields)
    assert isinstance(completion, ChatCompletion)
    return completion


def stream(client: OpenAI, **fields: Any) -> list[ChatCompletionChunk]:  # noqa: ANN401 - request fields
    with client.chat.completions.create(model=MODEL, messages=HI, stream=True, **fields) as chunks:
        return list(chunks)


def text(chunks: list[ChatCompletionChunk], index: int = 0) -> str:
    choices = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
    return "".join(choice.delta.content or "" for choice in choices)


REQUESTS: list[dict[str, Any]] = [
    {},
    {"n": 3},
    {"logprobs": True, "top_logprobs": 5},
    {"stop": ["there"], "max_completion_tokens": 50, "seed": 7, "temperature": 0.5},
    {"user": "u", "store": False, "metadata": {}, "service_tier": "auto", "logit_bias": {"5": -100}},
    {"extra_body": {"top_k": 5, "min_p": 0.1, "repetition_penalty": 1.1}},
]


@pytest.mark.parametrize("fields", REQUESTS)
def test_a_completion_fits_the_type(client: OpenAI, fields: dict[str, Any]) -> None:
    check(create(client, **fields))


@pytest.mark.parametrize("fields", [*REQUESTS, {"stream_options": {"include_usage": True}}])
def test_every_chunk_fits_the_type(client: OpenAI, fields: dict[str, Any]) -> None:
    for chunk in stream(client, **fields):
        check(chunk)


def test_a_completion_has_exactly_the_fields_of_the_reference(client: OpenAI) -> None:
    completion = create(client)
    assert {
        "id",
        "object",
        "created",
        "model",
        "choices",
        "usage",
        "service_tier",
        "system_fingerprint",
    } == completion.model_fields_set
    assert {"index", "message", "logprobs", "finish_reason"} == completion.choices[0].model_fields_set
    assert {"role", "content", "refusal", "annotations"} == completion.choices[0].message.model_fields_set
    assert completion.usage is not None
    assert {
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "prompt_tokens_details",
        "completion_tokens_details",
    } == completion.usage.model_fields_set


@pytest.mark.parametrize(
    ("options", "optional"),
    [
        ({}, {"obfuscation"}),
        ({"include_obfuscation": False}, set()),
        ({"include_usage": True}, {"obfuscation", "usage"}),
        ({"include_usage": True, "include_obfuscation": False}, {"usage"}),
    ],
)
def test_a_chunk_has_exactly_the_fields_that_were_asked_for(
    client: OpenAI, options: dict[str, bool], optional: set[str]
) -> None:
    always = {"id", "object", "created", "model", "service_tier", "system_fingerprint", "choices"}
    chunks = [chunk for chunk in stream(client, stream_options=options) if chunk.choices]
    assert [always | optional] * len(chunks) == [chunk.model_fields_set for chunk in chunks]


def test_stream_and_whole_answer_have_the_same_text(client: OpenAI) -> None:
    assert create(client).choices[0].message.content == text(stream(client)) == "Hi there"


def test_the_usage_chunk_is_the_last(client: OpenAI) -> None:
    *chunks, last = stream(client, stream_options={"include_usage": True})
    assert {None} == {chunk.usage for chunk in chunks}
    assert last.usage is not None
    assert ([], 16) == (last.choices, last.usage.total_tokens)


def test_choices_of_a_stream_have_their_index(client: OpenAI) -> None:
    chunks = stream(client, n=2)
    assert ["Hi there"] * 2 == [text(chunks, index) for index in range(2)]


def test_reasoning_content_is_the_only_extension_of_an_answer(start_server: StartServer, client_of: ClientOf) -> None:
    script: list[Item] = [STARTED, *says("<think>why</think>so"), *ends()]
    renderer = ScriptedRenderer(reasoning=ReasoningMarkers(start="<think>", end="</think>"))
    client = client_of(start_server(ScriptedEngine(script), renderer=renderer))
    completion = create(client)
    check(completion)
    assert {"choices.message.reasoning_content"} == unknown_fields(completion)
    assert {"choices.delta.reasoning_content"} == set().union(*map(unknown_fields, stream(client)))


def test_the_raw_response_shows_the_headers(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=HI)
    assert raw.headers["x-request-id"] == raw.request_id
    assert 0 <= int(raw.headers["openai-processing-ms"])
    check(raw.parse())


def test_the_stream_helper_collects_the_answer(client: OpenAI) -> None:
    with client.chat.completions.stream(model=MODEL, messages=HI) as events:
        names = [event.type for event in events]
        completion = events.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} == set(names)
    assert "Hi there" == completion.choices[0].message.content


def test_plain_text_can_be_parsed(client: OpenAI) -> None:
    completion = client.chat.completions.parse(model=MODEL, messages=HI)
    assert ("Hi there", None) == (completion.choices[0].message.content, completion.choices[0].message.parsed)


def test_an_answer_can_be_sent_back_as_history(client: OpenAI) -> None:
    answer = create(client).choices[0].message
    history: Any = [*HI, answer.to_dict(), {"role": "user", "content": "Go on"}]
    check(client.chat.completions.create(model=MODEL, messages=history))


def test_models_are_listed_and_retrieved(client: OpenAI) -> None:
    listed = client.models.list()
    assert [MODEL] == [model.id for model in listed]
    model = client.models.retrieve(MODEL)
    assert isinstance(model, Model)
    assert model == listed.data[0]
    check(model)


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"temperature": 9}, "temperature", "decimal_above_max_value"),
        ({"n": 0}, "n", "integer_below_min_value"),
        ({"extra_body": {"nonsense": 1}}, "nonsense", "unknown_parameter"),
        ({"messages": []}, "messages", "empty_array"),
        ({"messages": [{"role": "robot", "content": "Hi"}]}, "messages[0].role", "invalid_value"),
    ],
)
def test_a_bad_request_is_the_sdks_class_with_code_and_param(
    client: OpenAI, fields: dict[str, Any], param: str, code: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**{"model": MODEL, "messages": HI, **fields})
    error = caught.value
    assert (param, code, "invalid_request_error") == (error.param, error.code, error.type)
    assert error.request_id is not None


def test_an_unknown_model_is_the_sdks_not_found(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("other")
    assert "model_not_found" == caught.value.code


def test_a_full_queue_is_the_sdks_rate_limit(start_server: StartServer, client_of: ClientOf) -> None:
    client = client_of(start_server(ScriptedEngine(refusal=RateLimitError("Full.", retry_after=0.01))))
    with pytest.raises(openai.RateLimitError) as caught:
        create(client)
    assert "rate_limit_exceeded" == caught.value.code


def test_the_sdk_repeats_after_the_time_that_the_server_names(start_server: StartServer, client_of: ClientOf) -> None:
    engine = ScriptedEngine(
        scripts=[[ServiceUnavailableError("Starting.", retry_after=0.01)], [STARTED, *says("a"), *ends()]]
    )
    client = client_of(start_server(engine)).with_options(max_retries=1)
    assert "a" == create(client).choices[0].message.content


def test_an_error_within_a_stream_is_the_sdks_error(start_server: StartServer, client_of: ClientOf) -> None:
    script: list[Item] = [STARTED, *says("a"), ServiceUnavailableError("The engine stopped.")]
    client = client_of(start_server(ScriptedEngine(script)))
    with pytest.raises(openai.APIError) as caught:
        stream(client)
    assert ("service_unavailable", "The engine stopped.") == (caught.value.code, caught.value.message)


AT_ONCE = ServerOptions(stream_headers_after=0)
"""Streams begin with comments, before their first token."""


def test_the_sdk_reads_a_stream_that_begins_with_comments(
    start_server: StartServer, client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "PING_INTERVAL", 0.01)
    script: list[Item] = [Pause(0.1), STARTED, *says("abc"), *ends()]
    server = start_server(ScriptedEngine(script), options=AT_ONCE)
    assert 1 < server.http.post(
        "/v1/chat/completions", json={"model": MODEL, "messages": HI, "stream": True}
    ).text.count(": ping\n\n")
    assert "abc" == "".join(chunk.choices[0].delta.content or "" for chunk in stream(client_of(server)))


def test_an_error_after_comments_is_the_sdks_error(start_server: StartServer, client_of: ClientOf) -> None:
    script: list[Item] = [Pause(0.1), ServiceUnavailableError("The engine stopped.")]
    client = client_of(start_server(ScriptedEngine(script), options=AT_ONCE))
    with pytest.raises(openai.APIError) as caught:
        stream(client)
    assert ("service_unavailable", "The engine stopped.") == (caught.value.code, caught.value.message)


def test_a_stream_that_the_sdk_closes_is_aborted(start_server: StartServer, client_of: ClientOf) -> None:
    server = start_server(ScriptedEngine([STARTED, *says("a"), Hang()]))
    with client_of(server).chat.completions.create(model=MODEL, messages=HI, stream=True) as chunks:
        next(iter(chunks))
    server.wait_until(lambda: server.engine.running == 0)
    assert 1 == len(server.engine.aborts)


@pytest.mark.anyio
async def test_the_async_client_gets_an_answer(async_client: AsyncOpenAI) -> None:
    completion = await async_client.chat.completions.create(model=MODEL, messages=HI)
    check(completion)
    assert "Hi there" == completion.choices[0].message.content


@pytest.mark.anyio
async def test_the_async_client_gets_a_stream(async_client: AsyncOpenAI) -> None:
    chunks = [
        chunk async for chunk in await async_client.chat.completions.create(model=MODEL, messages=HI, stream=True)
    ]
    for chunk in chunks:
        check(chunk)
    assert "Hi there" == text(chunks)


@pytest.mark.anyio
async def test_the_async_stream_helper_collects_the_answer(async_client: AsyncOpenAI) -> None:
    async with async_client.chat.completions.stream(model=MODEL, messages=HI) as events:
        completion = await events.get_final_completion()
    assert "Hi there" == completion.choices[0].message.content


@pytest.mark.anyio
async def test_the_async_client_gets_models_and_errors(async_client: AsyncOpenAI) -> None:
    assert [MODEL] == [model.id async for model in async_client.models.list()]
    with pytest.raises(openai.NotFoundError):
        await async_client.models.retrieve("other")
