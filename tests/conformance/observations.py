"""Observations of one request: each function takes its body and returns its effect on one part of the server.

The parts are the real ones over a vocabulary of bytes, but for the model: a scripted engine gives the same answer to
every request, or the real core decodes with the fake model, whose logits follow from all the tokens so far.
"""

import asyncio
import json
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from antiphon.backends.local import LocalBackend
from antiphon.config import ServerOptions
from antiphon.constraints.json_schema.validity import is_valid
from antiphon.engine.interface import EngineOptions, Finished, Started, StreamEvent, TokenEvent
from antiphon.engine.worker.core import Core
from antiphon.errors import APIError
from antiphon.isolation.process_pool import PoolLoad
from antiphon.protocol.requests import CreateChatCompletion, decode_request
from antiphon.protocol.sse import SSEDecoder
from antiphon.rendering.render_job import Rendering
from antiphon.rendering.renderer import Renderer
from antiphon.routing.router import Router
from antiphon.server.app import create_app
from antiphon.service import Service
from antiphon.service.records import RequestRecord
from antiphon.service.service import Clocks
from antiphon.service.storage import Storage
from antiphon.store.schema import DEFAULT_PROJECT
from tests.engine.fake_model import FakeModel
from tests.rendering.family_templates import family_format, family_template, markers
from tests.rendering.grammar_walk import Walker
from tests.scripted_engine import CONTROL, ByteVocabulary, Item, ScriptedEngine, ends, says
from tests.server import asgi

Body = dict[str, Any]
"""The JSON of a request."""
CONTEXT = 2048
STEPS = 400
"""Steps of the core within which every request of these tests has ended."""
PATH = "/v1/chat/completions"
CHOICES = 2
"""Choices that a script has an answer for."""
SAID = {"m": "Hello, world.", "other": "Bye, world."}
"""The answer of each served model."""
MARKED = "marked"
"""A served model whose answer has a control token."""


def call(name: str, **arguments: object) -> str:
    """Write a call as the model does."""
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


def custom(name: str, text: str) -> str:
    """Write the call of a custom tool as the model does."""
    return f'<custom_tool_call name="{name}">\n{text}'


ANSWERS = (
    *("Hi.", "{}", '{"city": "Rome"}', '{"city": 1}'),
    *(call("find", **arguments) for arguments in ({}, {"city": "Rome"}, {"city": 1})),
    *(call("look"), call("look") + "\n" + call("look"), call("look") + "\n" + call("find")),
    *(custom("run", "x"), custom("run", "xyz"), custom("run", 'start: "x"'), custom("walk", "x")),
)
"""Texts that a model may say, some of them within the bounds of a request."""


class DirectRenderer:
    """The renderer itself, without processes."""

    def __init__(self) -> None:
        self.load = PoolLoad()

    async def render(self, request: CreateChatCompletion, request_id: str, cache_salt: str) -> Rendering:
        return _renderer().render(request, request_id, cache_salt)

    async def is_valid(self, schema: dict[str, Any], texts: list[str]) -> bool | None:
        return all(is_valid(schema, text) for text in texts)


def refusal(body: Body) -> str | None:
    """Give the field that the request is refused for, None where it is taken."""
    try:
        rendered(body)
    except APIError as error:
        return error.param
    return None


def rendered(body: Body, request_id: str = "r") -> Rendering:
    """Give the work for the engine."""
    return _renderer().render(_decoded(body), request_id, "")


def prompt(body: Body) -> str:
    """Give the prompt, in a template that writes everything down that it is given."""
    return _walker().vocabulary.decode(rendered(body).generate.prompt_ids)


def admitted(body: Body) -> list[str]:
    """Give those of :data:`ANSWERS` that the engine may say."""
    grammar = rendered(body).generate.grammar
    return [text for text in ANSWERS if not grammar or _walker().admits(grammar, text)]


def grammar_text(body: Body) -> str:
    """Give the grammar that the engine follows."""
    return rendered(body).generate.grammar


def decoded(body: Body) -> list[StreamEvent]:
    """Give what the core reports of the request, alone."""
    return _run(_core(), rendered(body))


def cached_tokens(body: Body) -> int:
    """Give the tokens of the prompt that the core has from an earlier request, whose key and salt, if any, are "a"."""
    core = _core()
    _run(core, rendered(body | {name: "a" for name in ("prompt_cache_key", "cache_salt") if name in body}))
    return next(event.cached_tokens for event in _run(core, rendered(body)) if isinstance(event, Started))


def turn(body: Body) -> list[str]:
    """Give the order in which the core begins with a default request that came first, and with this one."""
    core = _core(max_num_seqs=1)
    for request_id, each in (
        ("running", body),
        ("waiting", body | {"service_tier": "default", "priority": 0}),
        ("this", body),
    ):
        core.add(rendered(each, request_id).generate)
        if request_id == "running":
            core.step()
    started = [event for event in _events(core) if isinstance(event, Started)]
    return [event.request_id for event in started if event.request_id != "running"]


def verified(body: Body) -> tuple[int, int]:
    """Give the tokens of the prediction that the core's model accepted, and those that it rejected."""
    (end,) = (event for event in decoded(body) if isinstance(event, Finished))
    return end.accepted_prediction_tokens, end.rejected_prediction_tokens


def sent(body: Body, *, says: str | None = None) -> tuple[str | None, list[Any]]:
    """Give the type of the answer over HTTP, and what is in it: the whole answer, or its chunks."""
    return asyncio.run(_sent(body, says))


def logged(body: Body) -> RequestRecord:
    """Give what is logged of the request."""
    records: list[RequestRecord] = []

    async def work() -> None:
        await _service(log=records.append).create(_decoded(body))

    asyncio.run(work())
    return records[0]


def stored(body: Body) -> list[Any]:
    """Give the completions that are kept of the request, each with its messages."""
    return asyncio.run(_stored(body))


async def _sent(body: Body, text: str | None) -> tuple[str | None, list[Any]]:
    exchange = asgi.Exchange(asgi.body(json.dumps(body).encode()))
    app = create_app(_service(text), ServerOptions())
    await exchange.run(app, method="POST", path=PATH, headers={"Content-Type": "application/json"})
    assert 200 == exchange.status, exchange.body
    events = SSEDecoder().feed(exchange.body) if body.get("stream") else [exchange.body.decode()]
    return exchange.headers.get("content-type"), [json.loads(event) for event in events if event != "[DONE]"]


async def _stored(body: Body) -> list[Any]:
    with tempfile.TemporaryDirectory() as folder:
        async with Storage.open(None, Path(folder)) as storage:
            await _service(storage=storage).create(_decoded(body))
            kept = (await storage.completions.list(DEFAULT_PROJECT)).data
            messages = [await storage.completions.messages(DEFAULT_PROJECT, each.id) for each in kept]
    return [msgspec.to_builtins(each) for each in (*kept, *messages)]


def _service(
    text: str | None = None,
    *,
    storage: Storage | None = None,
    log: Callable[[RequestRecord], None] = lambda _: None,
) -> Service:
    """Make a service whose models say ``text``, or else what is theirs to say, over clocks that stand still."""
    clocks = Clocks(clock=lambda: 1e9, timer=lambda: 0.0, ids=lambda: "chatcmpl-1", random_bytes=bytes)
    models = {name: [_backend(text or words)] for name, words in SAID.items()}
    models[MARKED] = [_backend("Hi", CONTROL)]
    return Service(Router(models), storage, clocks=clocks, log=log)


def _backend(text: str, *control: int) -> LocalBackend:
    """Make a backend whose model says ``text`` and then control tokens, in each choice."""
    script: list[Item] = [Started(request_id="", cached_tokens=1)]
    for index in range(CHOICES):
        marks = [TokenEvent(request_id="", index=index, token_ids=[token]) for token in control]
        script += [*says(text, index=index), *marks, *ends(index=index)]
    return LocalBackend(ScriptedEngine(script), ByteVocabulary(), DirectRenderer())


def _decoded(body: Body) -> CreateChatCompletion:
    return decode_request(json.dumps(body).encode())


def _core(max_num_seqs: int = 8) -> Core:
    options = EngineOptions(model_path="", max_num_seqs=max_num_seqs)
    return Core(FakeModel(4 * CONTEXT), options, clock=lambda: 0.0, entropy=lambda: 7)


def _run(core: Core, rendering: Rendering) -> list[StreamEvent]:
    core.add(rendering.generate)
    return _events(core)


def _events(core: Core) -> list[StreamEvent]:
    events: list[StreamEvent] = []
    for _ in range(STEPS):
        if not core.has_work:
            return events
        events += core.step()
    raise AssertionError(f"still at work after {STEPS} steps")


@cache
def _walker() -> Walker:
    return Walker(markers("hermes"))


@cache
def _renderer() -> Renderer:
    return Renderer(_walker().vocabulary, family_template("hermes"), family_format("hermes"), CONTEXT)
