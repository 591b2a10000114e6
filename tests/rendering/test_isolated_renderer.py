"""Which requests wait for no longer ones, and what becomes of a job that is lost."""

import signal
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
from antiphon.isolation.fork_client import PreparationError
from antiphon.isolation.process_pool import Cause, JobLostError, PoolFullError, PoolLoad, PoolUnavailableError
from antiphon.protocol.requests import decode_request
from antiphon.rendering.isolated_renderer import SHORT_BYTES, IsolatedRenderer, UnusableTemplateError, prepared
from antiphon.rendering.render_job import Rendering, TokenJob
from antiphon.rendering.render_process import handler
from antiphon.rendering.renderer import Renderer
from antiphon.templates.chat_template import CHATML, ChatTemplate
from tests.rendering.byte_vocabulary import ByteVocabulary
from tests.rendering.test_renderer import THINK
from tests.rendering.test_token_texts import Vocabulary

pytestmark = pytest.mark.anyio

CONTEXT = 1 << 16
LONG = "x" * SHORT_BYTES
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}


class Pool:
    """Does jobs in this process, and keeps whether each was short; raises ``error`` instead when given one."""

    def __init__(self, do: Callable[[bytes], bytes], error: Exception | None = None) -> None:
        self.short: list[bool] = []
        self.load = PoolLoad(running=1)
        self._do = do
        self._error = error

    async def run(self, payload: bytes, *, short: bool = False) -> bytes:
        self.short.append(short)
        if self._error is not None:
            raise self._error
        return self._do(payload)

    async def prepared(self) -> None:
        if self._error is not None:
            raise self._error


def opened(error: Exception | None = None) -> tuple[IsolatedRenderer, Pool]:
    renderer = Renderer(ByteVocabulary(), ChatTemplate(CHATML, "", ""), THINK, 0)
    handle = handler(renderer, Vocabulary())
    pool = Pool(lambda payload: handle(payload, lambda _: None), error)
    return IsolatedRenderer(pool, CONTEXT), pool


async def rendered(renderer: IsolatedRenderer, text: str = "Hi", **fields: Any) -> Rendering:  # noqa: ANN401 (JSON)
    body = {"model": "m", "messages": [{"role": "user", "content": text}], **fields}
    return await renderer.render(decode_request(msgspec.json.encode(body)), "req", "salt")


async def refused(error: Exception, text: str = LONG) -> APIError:
    renderer, _ = opened(error)
    with pytest.raises(APIError) as caught:
        await rendered(renderer, text)
    return caught.value


async def test_a_short_conversation_is_a_short_job() -> None:
    renderer, pool = opened()
    result = await rendered(renderer)
    assert ("req", "salt", [True]) == (result.generate.request_id, result.generate.cache_salt, pool.short)


def test_the_load_is_that_of_the_pool() -> None:
    renderer, pool = opened()
    assert pool.load == renderer.load


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
async def test_a_long_text_in_any_field_and_every_grammar_make_a_long_job(fields: dict[str, Any]) -> None:
    renderer, pool = opened()
    try:
        await rendered(renderer, **fields)
    except InvalidRequestError as error:
        assert "chat_template_kwargs.name" == error.param  # noqa: PT017 (this template has no variables)
    assert [False] == pool.short


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
    direct = Renderer(ByteVocabulary(), ChatTemplate(CHATML, "", ""), THINK, CONTEXT).render(
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
    salt = (await rendered(renderer, LONG, prompt_cache_key="key")).generate.cache_salt
    assert ("salt", True) == (salt.partition("\0")[0], "key" in salt)


async def test_a_refusal_keeps_its_message_its_param_and_its_code() -> None:
    renderer, _ = opened()
    with pytest.raises(InvalidRequestError) as caught:
        await rendered(renderer, LONG, logit_bias={"999999": 1.0})
    assert ("logit_bias", "invalid_value") == (caught.value.param, caught.value.code)
    assert "999999" in caught.value.message


@pytest.mark.parametrize(
    ("cause", "words"), [("time", "20 s of processor time"), ("memory", "1024 MiB of memory"), ("crash", "memory")]
)
@pytest.mark.parametrize(("field", "stage"), [("tools", "tools"), ("messages", "")])
async def test_a_job_that_exceeds_its_limits_is_refused_by_the_field_that_it_was_at(
    field: str, stage: str, cause: Cause, words: str
) -> None:
    error = await refused(JobLostError(cause, stage))
    assert (400, field, "invalid_value") == (error.status, error.param, error.code)
    assert words in error.message


@pytest.mark.parametrize(
    ("expected", "error"),
    [
        (InternalServerError, JobLostError("fault", "messages")),
        (RateLimitError, PoolFullError()),
        (ServiceUnavailableError, PoolUnavailableError()),
    ],
)
async def test_a_fault_of_the_server_is_told_as_one(expected: type[APIError], error: Exception) -> None:
    assert expected is type(await refused(error))


@pytest.mark.parametrize(("expected", "text"), [("long conversations", LONG), ("requests", "Hi")])
async def test_a_full_pool_says_of_which_requests_too_many_wait(expected: str, text: str) -> None:
    assert f"Too many {expected} are waiting." == (await refused(PoolFullError(), text)).message


@pytest.mark.parametrize(
    ("words", "error"),
    [("no template", PreparationError("It is no template.", 71)), ("10 s", PreparationError("", -signal.SIGXCPU))],
)
async def test_a_template_that_cannot_be_used_is_told_with_the_reason(words: str, error: Exception) -> None:
    _, pool = opened(error)
    with pytest.raises(UnusableTemplateError, match=words):
        await prepared(pool)


async def test_a_process_that_prepares_nothing_for_another_reason_makes_the_pool_unavailable() -> None:
    _, pool = opened(PreparationError("", 1))
    with pytest.raises(PoolUnavailableError):
        await prepared(pool)


@pytest.mark.parametrize(("expected", "text"), [(True, "[1]"), (False, "[1, 1]")])
async def test_texts_are_validated_in_a_process_for_long_jobs(expected: bool, text: str) -> None:  # noqa: FBT001
    renderer, pool = opened()
    assert expected is await renderer.is_valid({"uniqueItems": True}, ["[]", text])
    assert [False] == pool.short


async def test_validity_is_unknown_without_a_usable_schema() -> None:
    assert None is await opened()[0].is_valid({"$ref": "http://a.test/b"}, ["[]"])


@pytest.mark.parametrize("error", [JobLostError("time", ""), PoolFullError(), PoolUnavailableError()])
async def test_validity_is_unknown_when_the_job_is_lost(error: Exception) -> None:
    assert None is await opened(error)[0].is_valid({}, ["[]"])


async def test_text_is_converted_as_a_short_job_and_a_long_one_as_another() -> None:
    renderer, pool = opened()
    assert [104, 105] == (await renderer.convert(TokenJob(text="hi"))).ids
    await renderer.convert(TokenJob(text=LONG))
    assert [True, False] == pool.short
    assert CONTEXT == renderer.max_model_len


async def test_unknown_token_is_refused() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        await opened()[0].convert(TokenJob(ids=[999]))
    assert "tokens" == caught.value.param


@pytest.mark.parametrize(("field", "job"), [("content", TokenJob(text=LONG)), ("tokens", TokenJob(ids=[1]))])
async def test_conversion_that_exceeds_its_limits_is_refused_by_its_own_field(field: str, job: TokenJob) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        await opened(JobLostError("time", ""))[0].convert(job)
    assert (field, "invalid_value") == (caught.value.param, caught.value.code)
