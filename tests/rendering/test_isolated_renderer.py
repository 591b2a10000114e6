"""Which requests are rendered at once and which in a process, and what becomes of a job that is lost."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from antiphon.errors import (
    APIError,
    InternalServerError,
    InvalidRequestError,
    RateLimitError,
    ServiceUnavailableError,
)
from antiphon.isolation.process_pool import Cause, JobLostError, PoolFullError, PoolLoad, PoolUnavailableError
from antiphon.protocol.requests import decode_request
from antiphon.rendering.isolated_renderer import INLINE_BYTES, IsolatedRenderer, inline_bytes
from antiphon.rendering.render_process import handler
from antiphon.rendering.renderer import Renderer, Rendering
from antiphon.templates.chat_template import CHATML, ChatTemplate
from tests.rendering.byte_vocabulary import ByteVocabulary
from tests.rendering.test_renderer import THINK

pytestmark = pytest.mark.anyio

LONG = "x" * INLINE_BYTES
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}


class Pool:
    """Does jobs in this process, and keeps them; raises ``error`` instead when given one."""

    def __init__(self, do: Callable[[bytes], bytes], error: Exception | None = None) -> None:
        self.jobs: list[bytes] = []
        self.load = PoolLoad(running=1)
        self._do = do
        self._error = error

    async def run(self, payload: bytes) -> bytes:
        self.jobs.append(payload)
        if self._error is not None:
            raise self._error
        return self._do(payload)


def opened(error: Exception | None = None) -> tuple[IsolatedRenderer, Pool]:
    renderer = Renderer(ByteVocabulary(), ChatTemplate(CHATML, "", ""), THINK, 1 << 16)
    handle = handler(renderer)
    pool = Pool(lambda payload: handle(payload, lambda _: None), error)
    return IsolatedRenderer(renderer, pool), pool


async def rendered(renderer: IsolatedRenderer, text: str = "Hi", **fields: Any) -> Rendering:  # noqa: ANN401 (JSON)
    body = {"model": "m", "messages": [{"role": "user", "content": text}], **fields}
    return await renderer.render(decode_request(msgspec.json.encode(body)), "req", "salt")


async def refused(error: Exception) -> APIError:
    renderer, _ = opened(error)
    with pytest.raises(APIError) as caught:
        await rendered(renderer, LONG)
    return caught.value


async def test_a_short_message_is_rendered_at_once_with_a_vocabulary_that_is_not_quick() -> None:
    short, pool = opened()
    renderer = IsolatedRenderer(short._renderer, pool, inline=inline_bytes(0.0009))
    await rendered(renderer)
    assert [] == pool.jobs
    await rendered(renderer, "x" * 300)
    assert 1 == len(pool.jobs)


async def test_a_short_conversation_is_rendered_at_once() -> None:
    renderer, pool = opened()
    result = await rendered(renderer)
    assert ("req", "salt", []) == (result.generate.request_id, result.generate.cache_salt, pool.jobs)


def test_the_load_is_that_of_the_pool() -> None:
    renderer, pool = opened()
    assert pool.load == renderer.load


async def test_nothing_is_rendered_at_once_where_the_vocabulary_is_slow() -> None:
    _, pool = opened()
    result = await rendered(
        IsolatedRenderer(
            Renderer(ByteVocabulary(), ChatTemplate(CHATML, "", ""), THINK, 512), pool, inline=inline_bytes(0.002)
        )
    )
    assert ("req", 1) == (result.generate.request_id, len(pool.jobs))


@pytest.mark.parametrize(("expected", "seconds"), [(4096, 0.0), (4096, 25e-6), (1520, 250e-6), (0, 1.01e-3)])
def test_the_slower_a_vocabulary_the_shorter_what_is_rendered_at_once(expected: int, seconds: float) -> None:
    assert expected == inline_bytes(seconds)


@pytest.mark.parametrize(
    "fields",
    [
        {"text": LONG},
        {"tools": [TOOL]},
        {"functions": [{"name": "f"}]},
        {"response_format": {"type": "json_object"}},
        {"prediction": {"type": "content", "content": LONG}},
        {"chat_template_kwargs": {"name": LONG}},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": LONG}]}]},
        {"messages": [{"role": "user", "content": "Hi", "name": "x" * 64}] * 100},
        {"messages": [{"role": "assistant", "refusal": LONG}, {"role": "user", "content": "Hi"}]},
        {"messages": [{"role": "assistant", "content": "a", "reasoning_content": LONG}]},
    ],
)
async def test_a_long_text_in_any_field_and_every_grammar_go_to_a_process(fields: dict[str, Any]) -> None:
    renderer, pool = opened()
    try:
        await rendered(renderer, **fields)
    except InvalidRequestError as error:
        assert "chat_template_kwargs.name" == error.param  # noqa: PT017 (this template has no variables)
    assert 1 == len(pool.jobs)


async def test_a_process_gives_the_rendering_that_is_given_here() -> None:
    renderer, _ = opened()
    fields: dict[str, Any] = {
        "tools": [TOOL],
        "logit_bias": {"5": 1.5},
        "stop": ["a"],
        "seed": -(2**63),
        "temperature": 0.1,
        "logprobs": True,
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"maximum": 10**40}}},
    }
    body = {"model": "m", "messages": [{"role": "user", "content": "H\u00e4"}], **fields}
    direct = Renderer(ByteVocabulary(), ChatTemplate(CHATML, "", ""), THINK, 1 << 16).render(
        decode_request(msgspec.json.encode(body)), "req", "salt"
    )
    assert direct == await rendered(renderer, "H\u00e4", **fields)


@pytest.mark.parametrize("stolen", [{"request_id": "other"}, {"cache_salt": "other"}, {"n": 100}])
async def test_a_process_cannot_answer_for_another_request(stolen: dict[str, Any]) -> None:
    renderer, pool = opened()
    honest = pool._do

    def lie(payload: bytes) -> bytes:
        outcome = msgspec.json.decode(honest(payload))
        outcome["rendering"]["generate"] |= stolen
        return msgspec.json.encode(outcome)

    pool._do = lie
    with pytest.raises(InternalServerError):
        await rendered(renderer, LONG)


async def test_a_cache_key_of_the_client_is_kept() -> None:
    renderer, _ = opened()
    assert "salt\0key" == (await rendered(renderer, LONG, prompt_cache_key="key")).generate.cache_salt


async def test_a_refusal_keeps_its_message_its_param_and_its_code() -> None:
    renderer, _ = opened()
    with pytest.raises(InvalidRequestError) as caught:
        await rendered(renderer, LONG, logit_bias={"999999": 1.0})
    assert ("logit_bias", "invalid_value") == (caught.value.param, caught.value.code)
    assert "999999" in caught.value.message


@pytest.mark.parametrize(
    ("cause", "words"), [("time", "20 s of processor time"), ("memory", "1024 MiB of memory"), ("crash", "memory")]
)
async def test_a_job_that_exceeds_its_limits_is_refused_by_the_field_that_it_was_at(cause: Cause, words: str) -> None:
    error = await refused(JobLostError(cause, "tools"))
    assert (400, "tools", "invalid_value") == (error.status, error.param, error.code)
    assert words in error.message


@pytest.mark.parametrize(
    ("expected", "error"),
    [
        (InternalServerError, JobLostError("fault", "messages")),
        (InternalServerError, JobLostError("crash", "")),
        (RateLimitError, PoolFullError()),
        (ServiceUnavailableError, PoolUnavailableError()),
    ],
)
async def test_a_fault_of_the_server_is_told_as_one(expected: type[APIError], error: Exception) -> None:
    assert expected is type(await refused(error))
