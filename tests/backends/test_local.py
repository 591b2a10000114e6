import asyncio
import re
from contextlib import aclosing

import pytest
from msgspec.structs import replace

from antiphon.assembly.collector import Collector
from antiphon.backends.backend import Call, Spent
from antiphon.backends.local import LocalBackend
from antiphon.chat_formats.answer_calls import AnswerCalls
from antiphon.chat_formats.chat_format import HERMES, ReasoningMarkers
from antiphon.engine.interface import Started
from antiphon.errors import InternalServerError, InvalidRequestError, RateLimitError, ServiceUnavailableError
from antiphon.isolation.process_pool import PoolLoad
from antiphon.protocol.messages import UserMessage
from antiphon.protocol.requests import CreateChatCompletion, StreamOptions
from antiphon.protocol.responses import (
    ChatCompletion,
    ChatCompletionChunk,
    CompletionUsage,
    FunctionCall,
    FunctionToolCall,
)
from antiphon.rendering.render_job import Rendering
from antiphon.rendering.unenforced import Unenforced
from tests.scripted_engine import (
    MODEL_INFO,
    STATS,
    ByteVocabulary,
    Hang,
    Item,
    Pause,
    ScriptedEngine,
    ScriptedRenderer,
    ends,
    says,
    scripted_backend,
)

pytestmark = pytest.mark.anyio

SLOW = "slow"


def call(text: str = "Hi", *, n: int = 1, stop: str | None = None, logprobs: bool = False, name: str = "c1") -> Call:
    message = UserMessage(content=text)
    request = CreateChatCompletion(messages=[message], model="m", n=n, stop=stop, logprobs=logprobs)
    return Call(completion_id=name, created=5, request=request)


async def collect(backend: LocalBackend, request: Call) -> ChatCompletion:
    collector = Collector()
    async for part in backend.stream(request):
        for chunk in part.chunks:
            collector.add(chunk)
    return collector.completion()


async def first(backend: LocalBackend, request: Call) -> ChatCompletionChunk:
    async with aclosing(backend.stream(request)) as parts:
        async for part in parts:
            if part.chunks:
                return part.chunks[0]
    raise AssertionError("no chunk came")


async def test_answer_has_the_text_and_the_counts_of_the_engine() -> None:
    script = [Started(request_id="", cached_tokens=3), *says("Hello"), *ends("length", prompt_tokens=4)]
    completion = await collect(scripted_backend(ScriptedEngine(script)), call())
    assert "Hello" == completion.choices[0].message.content
    assert ("c1", 5, "m", "default") == (
        completion.id,
        completion.created,
        completion.model,
        completion.service_tier,
    )
    usage = completion.usage
    assert (4, 5, 3) == (usage.prompt_tokens, usage.completion_tokens, usage.prompt_tokens_details.cached_tokens)


async def test_fingerprint_changes_with_the_variant() -> None:
    backends = [
        LocalBackend(ScriptedEngine(), ByteVocabulary(), ScriptedRenderer(), variant=variant)
        for variant in ("", "a template", "")
    ]
    prints = [(await first(backend, call())).system_fingerprint for backend in backends]
    assert re.fullmatch("fp_[0-9a-f]{10}", prints[0])
    assert prints[0] == prints[2] != prints[1]


async def test_engine_gets_the_rendered_prompt_under_the_id_of_the_completion() -> None:
    engine = ScriptedEngine()
    await collect(scripted_backend(engine), call("ab", n=2))
    assert [("c1", [97, 98], 2)] == [(each.request_id, each.prompt_ids, each.n) for each in engine.requests]


async def test_choice_that_reaches_its_stop_string_is_aborted_once_and_alone() -> None:
    script: list[Item] = [*says("a.b"), *says("xyz", index=1), Pause(), *says("lost"), *ends(index=1), *ends()]
    engine = ScriptedEngine(script)
    completion = await collect(scripted_backend(engine), call(n=2, stop="."))
    assert [("c1", 0)] == engine.aborts
    assert ["a", "xyz"] == [choice.message.content for choice in completion.choices]
    assert 2 + 3 == completion.usage.completion_tokens
    assert 0 == engine.running


@pytest.mark.parametrize(
    ("script", "spent"),
    [
        ([*says("a", tokens_per_event=1), Hang()], Spent(completion_tokens=1)),
        ([Started(request_id="", cached_tokens=0), *says("Hello", tokens_per_event=5), Hang()], Spent(2, 5)),
    ],
)
async def test_each_part_counts_the_tokens_so_far(script: list[Item], spent: Spent) -> None:
    async with aclosing(scripted_backend(ScriptedEngine(script)).stream(call("Hi"))) as parts:
        part = await anext(parts)
        while not part.chunks:
            part = await anext(parts)
    assert spent == part.spent


async def test_reasoning_and_logprobs_follow_the_rendering() -> None:
    engine = ScriptedEngine([*says("so</t>\nHi"), *ends()])
    renderer = ScriptedRenderer(reasoning=ReasoningMarkers("<t>", "</t>"), reasoning_open=True)
    completion = await collect(scripted_backend(engine, renderer), call(logprobs=True))
    choice = completion.choices[0]
    assert ("so", "Hi") == (choice.message.reasoning_content, choice.message.content)
    assert choice.logprobs is not None
    assert ["H", "i"] == [entry.token for entry in choice.logprobs.content or []]


async def test_rendering_error_is_raised_before_the_first_chunk_and_reaches_no_engine() -> None:
    engine = ScriptedEngine()
    backend = scripted_backend(engine, ScriptedRenderer(refusal=InvalidRequestError("too long", param="messages")))
    with pytest.raises(InvalidRequestError):
        await first(backend, call())
    assert [] == engine.requests


async def test_a_full_queue_raises_before_the_first_chunk() -> None:
    backend = scripted_backend(ScriptedEngine(refusal=RateLimitError("full")))
    with pytest.raises(RateLimitError):
        await first(backend, call())


async def test_model_is_unavailable_until_it_is_started() -> None:
    backend = scripted_backend(ScriptedEngine(info=None))
    assert ("starting", None) == (backend.status().state, backend.status().context)
    with pytest.raises(ServiceUnavailableError):
        await first(backend, call())
    await backend.start()
    assert ("ready", MODEL_INFO.max_model_len) == (backend.status().state, backend.status().context)
    await backend.close()
    assert not backend.status().ready


async def test_an_engine_that_died_makes_the_backend_unavailable_with_the_reason() -> None:
    engine = ScriptedEngine()
    engine.ready, engine.failure = False, "It was killed by SIGKILL."
    status = scripted_backend(engine).status()
    assert ("unavailable", "It was killed by SIGKILL.") == (status.state, status.reason)


def test_counters_come_from_the_engine_and_the_renderer() -> None:
    engine, renderer = ScriptedEngine(), ScriptedRenderer()
    engine.restarts, renderer.load = 3, PoolLoad(running=1, waiting=0, oldest_seconds=2.0)
    backend = scripted_backend(engine, renderer)
    assert (STATS, 3, renderer.load) == (backend.report.stats, backend.report.restarts, backend.preparing)


@pytest.mark.parametrize(
    ("last", "error"),
    [
        ([ServiceUnavailableError("died")], ServiceUnavailableError),
        (ends("error", message="bad"), InternalServerError),
        ([], InternalServerError),
    ],
)
@pytest.mark.parametrize("together", [1, 2, 9])
async def test_failure_is_raised_after_the_chunks_before_it(
    last: list[Item], error: type[Exception], together: int
) -> None:
    for length in range(3):
        engine = ScriptedEngine([*says("abc"[:length]), *last], together=together)
        chunks: list[ChatCompletionChunk] = []

        async def read(engine: ScriptedEngine, chunks: list[ChatCompletionChunk]) -> None:
            async for batch in scripted_backend(engine).stream(call()):
                chunks.extend(batch.chunks)

        with pytest.raises(error):
            await read(engine, chunks)
        assert "abc"[:length] == "".join(str(chunk.choices[0].delta.content) for chunk in chunks)
        assert 0 == engine.running


async def test_events_of_one_batch_become_one_part() -> None:
    engine = ScriptedEngine([*says("abc"), *ends()], together=2)
    sizes = [len(part.chunks) async for part in scripted_backend(engine).stream(call())]
    assert [1 + 2, 1 + 1, 1] == sizes


async def test_closing_the_stream_aborts_the_request_once() -> None:
    engine = ScriptedEngine([*says("a"), Hang()])
    await first(scripted_backend(engine), call())
    assert [("c1", None)] == engine.aborts
    assert 0 == engine.running


async def test_a_stream_that_was_never_read_reaches_no_engine() -> None:
    engine = ScriptedEngine()
    await scripted_backend(engine).stream(call()).aclose()
    assert [] == engine.requests


class SlowRenderer(ScriptedRenderer):
    """Renders one request only after ``go`` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()

    async def render(self, request: CreateChatCompletion, request_id: str, cache_salt: str) -> Rendering:
        if request.messages[0].content == SLOW:
            await self.go.wait()
        return await super().render(request, request_id, cache_salt)


async def test_slow_rendering_does_not_delay_other_requests() -> None:
    renderer = SlowRenderer()
    backend = scripted_backend(ScriptedEngine(), renderer)
    slow = asyncio.create_task(collect(backend, call(SLOW)))
    assert "Hi" == (await collect(backend, call("Hi", name="c2"))).choices[0].message.content
    renderer.go.set()
    assert SLOW == (await slow).choices[0].message.content


async def test_full_engine_refuses_a_request_before_it_is_rendered() -> None:
    engine = ScriptedEngine()
    engine.full = RateLimitError("full")
    backend = scripted_backend(engine, ScriptedRenderer(refusal=AssertionError("it was rendered")))
    with pytest.raises(RateLimitError):
        await collect(backend, call())


class ToolRenderer(ScriptedRenderer):
    """Allows calls of one function."""

    def __init__(self, *, named: bool = False, legacy: bool = False) -> None:
        super().__init__()
        self._tools = AnswerCalls(notation=HERMES, tools={"weather": {}}, named=named, legacy=legacy)

    async def render(self, request: CreateChatCompletion, request_id: str, cache_salt: str) -> Rendering:
        return replace(await super().render(request, request_id, cache_salt), tools=self._tools)


@pytest.mark.parametrize(("expected", "named"), [("tool_calls", False), ("stop", True)])
async def test_named_tool_choice_ends_with_stop(expected: str, named: bool) -> None:  # noqa: FBT001
    script = [*says('Hi<tool_call>\n{"name": "weather", "arguments": {}}\n</tool_call>'), *ends()]
    completion = await collect(scripted_backend(ScriptedEngine(script), ToolRenderer(named=named)), call())
    choice = completion.choices[0]
    assert ("Hi", expected) == (choice.message.content, choice.finish_reason)
    assert isinstance(choice.message.tool_calls, list)
    (made,) = choice.message.tool_calls
    assert isinstance(made, FunctionToolCall)
    assert FunctionCall(name="weather", arguments="{}") == made.function


async def test_deprecated_functions_get_a_function_call() -> None:
    script = [*says('<tool_call>\n{"name": "weather", "arguments": {}}\n</tool_call>'), *ends()]
    completion = await collect(scripted_backend(ScriptedEngine(script), ToolRenderer(legacy=True)), call())
    choice = completion.choices[0]
    assert (FunctionCall(name="weather", arguments="{}"), "function_call") == (
        choice.message.function_call,
        choice.finish_reason,
    )


async def test_a_request_that_is_cancelled_while_it_is_rendered_reaches_no_engine() -> None:
    renderer, engine = SlowRenderer(), ScriptedEngine()
    task = asyncio.create_task(collect(scripted_backend(engine, renderer), call(SLOW)))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [] == engine.requests


def test_the_scripted_vocabulary_is_bytes() -> None:
    assert b"a" == ByteVocabulary().token_bytes(97)


@pytest.mark.parametrize("running", [False, True])
async def test_only_continuous_usage_stats_give_every_chunk_a_usage(running: bool) -> None:  # noqa: FBT001
    options = StreamOptions(include_usage=True, continuous_usage_stats=running)
    asked = call("ab")
    asked = replace(asked, request=replace(asked.request, stream=True, stream_options=options))
    usage = (await first(scripted_backend(ScriptedEngine()), asked)).usage
    assert (2 if running else None) == (usage.prompt_tokens if isinstance(usage, CompletionUsage) else None)


@pytest.mark.parametrize("valid", [True, False])
async def test_answer_to_a_schema_that_is_partly_enforced_is_validated_before_its_end(*, valid: bool) -> None:
    renderer = ScriptedRenderer(unenforced=Unenforced(paths=("a.b",), content={"type": "array"}), valid=valid)
    backend = scripted_backend(ScriptedEngine([*says("[1]"), *ends()]), renderer)
    parts = [part async for part in backend.stream(call())]
    assert ["[1]"] == renderer.checked
    assert (("a.b",), []) == (parts[0].unenforced, parts[0].chunks)
    assert [None] * (len(parts) - 1) + ["valid" if valid else "invalid"] == [part.validity for part in parts]
