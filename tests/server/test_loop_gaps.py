"""No long text in any field of a request blocks the event loop."""

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import anyio
import httpx2
import msgspec
import pytest
from msgspec import inspect

from antiphon.backends.local import LocalBackend
from antiphon.config import ServerOptions
from antiphon.engine.models.tokenizer import Tokenizer
from antiphon.protocol.requests import CreateChatCompletion
from antiphon.rendering.isolated_renderer import IsolatedRenderer, open_pool
from antiphon.rendering.renderer_settings import RendererSettings
from antiphon.routing.router import Router
from antiphon.server.app import create_app
from antiphon.service import Service
from tests.scripted_engine import ScriptedEngine
from tests.server.asgi import with_signals

pytestmark = pytest.mark.anyio

SIZE: Final = 1_900_000
"""Characters of the long text."""
LONG: Final = ("The sea\n\n  is wide.\n" * SIZE)[:SIZE]
MAX_GAP: Final = 30
"""Times what decoding the longest body as JSON takes: rendering or tokenizing such a text takes hundreds."""
LEAST_GAP: Final = 0.05
"""Seconds of processor time up to which every gap is accepted."""

USER: Final[dict[str, Any]] = {"role": "user", "content": "Hi"}
CALL: Final = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLED: Final = {"role": "assistant", "tool_calls": [CALL]}


def function(**fields: Any) -> dict[str, Any]:  # noqa: ANN401 (JSON)
    return {"type": "function", "function": {"name": "f", **fields}}


def custom(**fields: Any) -> dict[str, Any]:  # noqa: ANN401 (JSON)
    return {"type": "custom", "custom": {"name": "f", **fields}}


def schema(**fields: Any) -> dict[str, Any]:  # noqa: ANN401 (JSON)
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "n", **fields}}}


def after(*messages: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [*messages, USER]}


BODIES: Final[dict[tuple[str, str], dict[str, Any]]] = {
    ("DeveloperMessage", "content"): after({"role": "developer", "content": LONG}),
    ("TextOnlyPart", "text"): after({"role": "system", "content": [{"type": "text", "text": LONG}]}),
    ("SystemMessage", "content"): after({"role": "system", "content": LONG}),
    ("UserMessage", "content"): {"messages": [{"role": "user", "content": LONG}]},
    ("TextPart", "text"): {"messages": [{"role": "user", "content": [{"type": "text", "text": LONG}]}]},
    ("AssistantMessage", "content"): after({"role": "assistant", "content": LONG}),
    ("AssistantMessage", "refusal"): after({"role": "assistant", "refusal": LONG}),
    ("AssistantMessage", "reasoning_content"): after({"role": "assistant", "content": "a", "reasoning_content": LONG}),
    ("RefusalPart", "refusal"): after({"role": "assistant", "content": [{"type": "refusal", "refusal": LONG}]}),
    ("CalledFunction", "arguments"): after(
        {"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "f", "arguments": LONG}}]},
        {"role": "tool", "tool_call_id": "c", "content": "a"},
    ),
    ("CalledCustomTool", "input"): after(
        {"role": "assistant", "tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "f", "input": LONG}}]},
        {"role": "tool", "tool_call_id": "c", "content": "a"},
    ),
    ("ToolMessage", "content"): after(CALLED, {"role": "tool", "tool_call_id": "c", "content": LONG}),
    ("FunctionMessage", "content"): after(
        {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": LONG},
    ),
    ("LegacyFunction", "description"): {"functions": [{"name": "f", "description": LONG}]},
    ("LegacyFunction", "parameters"): {"functions": [{"name": "f", "parameters": {"description": LONG}}]},
    ("FunctionDefinition", "description"): {"tools": [function(description=LONG)]},
    ("FunctionDefinition", "parameters"): {"tools": [function(parameters={"description": LONG})]},
    ("CustomToolDefinition", "description"): {"tools": [custom(description=LONG)]},
    ("Grammar", "definition"): {
        "tools": [custom(format={"type": "grammar", "grammar": {"syntax": "lark", "definition": LONG}})]
    },
    ("Prediction", "content"): {"prediction": {"type": "content", "content": LONG}},
    ("JSONSchemaFormat", "description"): schema(description=LONG),
    ("JSONSchemaFormat", "schema"): schema(schema={"enum": [LONG]}),
    ("AllowedTools", "tools"): {
        "tools": [function()],
        "tool_choice": {
            "type": "allowed_tools",
            "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": LONG}}]},
        },
    },
    ("CreateChatCompletion", "chat_template_kwargs"): {"chat_template_kwargs": {"text": LONG}},
    ("ResponseFormatJSONObject", "schema"): {"response_format": {"type": "json_object", "schema": {"enum": [LONG]}}},
    ("StructuredOutputs", "json"): {"structured_outputs": {"json": {"enum": [LONG]}}},
    ("StructuredOutputs", "regex"): {"structured_outputs": {"regex": LONG}},
    ("StructuredOutputs", "grammar"): {"structured_outputs": {"grammar": LONG}},
    ("CreateChatCompletion", "guided_json"): {"guided_json": {"enum": [LONG]}},
    ("CreateChatCompletion", "guided_regex"): {"guided_regex": LONG},
    ("CreateChatCompletion", "guided_grammar"): {"guided_grammar": LONG},
    ("CreateChatCompletion", "grammar"): {"grammar": LONG},
}
"""Requests with a long text, by structure and member."""

OTHERS: Final = {
    "many short texts": {"messages": [{"role": "user", "content": LONG[:1000]}] * 1900},
    "many calls": after({"role": "assistant", "tool_calls": [{**CALL, "id": f"c{i}"} for i in range(100)]}),
    "only newlines": {"messages": [{"role": "user", "content": "\n" * SIZE}]},
    "one letter": {"messages": [{"role": "user", "content": "a" * SIZE}]},
}
REFUSED: Final = {
    *("ImageURL", "InputAudio", "FileReference", "AudioReference", "URLCitation"),
    *("AudioOptions", "VoiceID", "ModerationOptions", "ApproximateLocation"),
}
"""Structures of fields that are refused by name."""


def unbounded(kind: inspect.Type, owner: tuple[str, str], seen: set[type]) -> Iterator[tuple[str, str]]:
    """Yield the structure and the member of every unbounded text."""
    match kind:
        case inspect.StrType(max_length=None, pattern=None) | inspect.AnyType():
            yield owner
        case inspect.StructType(cls=cls) if cls not in seen:
            seen.add(cls)
            for field in kind.fields:
                yield from unbounded(field.type, (cls.__name__, field.name), seen)
        case inspect.UnionType():
            for each in kind.types:
                yield from unbounded(each, owner, seen)
        case inspect.ListType():
            yield from unbounded(kind.item_type, owner, seen)
        case inspect.DictType():
            yield from unbounded(kind.value_type, owner, seen)


def test_every_text_of_the_protocol_is_tried() -> None:
    found = {*unbounded(inspect.type_info(CreateChatCompletion), ("", ""), set())}
    assert {owner for owner in found if owner[0] not in REFUSED} == {*BODIES}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def http(smollm2_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    """Yield a client of an app on the test's event loop; it renders with the bundled model's vocabulary."""
    pool = open_pool(RendererSettings(model_path=str(smollm2_path)))
    tokenizer = Tokenizer.open(str(smollm2_path))
    renderer = IsolatedRenderer(pool, 1 << 17)
    service = Service(Router({"m": [LocalBackend(ScriptedEngine(), tokenizer, renderer)]}))
    transport = httpx2.ASGITransport(with_signals(create_app(service, ServerOptions())))
    async with httpx2.AsyncClient(transport=transport, base_url="http://test", timeout=120) as client:
        yield client
    await pool.close()
    tokenizer.close()


async def longest_gap(http: httpx2.AsyncClient, body: bytes) -> tuple[float, int]:
    """Send a request; return the longest processor time between two turns of the loop, and the status."""
    gaps = [0.0]

    async def watch() -> None:
        while True:
            began = time.thread_time()
            await anyio.sleep(0.001)
            gaps.append(time.thread_time() - began)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        answer = await http.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
        tasks.cancel_scope.cancel()
    return max(gaps), answer.status_code


def decoding_time(body: bytes) -> float:
    """Return the shortest processor time of decoding in three tries."""
    times = []
    for _ in range(3):
        began = time.thread_time()
        msgspec.json.decode(body)
        times.append(time.thread_time() - began)
    return min(times)


@pytest.mark.parametrize("fields", [*BODIES.values(), *OTHERS.values()], ids=[*map(".".join, BODIES), *OTHERS])
async def test_long_text_does_not_block_the_event_loop(http: httpx2.AsyncClient, fields: dict[str, Any]) -> None:
    body = msgspec.json.encode({"model": "m", "messages": [USER], **fields})
    gap, status = await longest_gap(http, body)
    assert status in {200, 400, 413}
    assert max(LEAST_GAP, MAX_GAP * decoding_time(body)) > gap
