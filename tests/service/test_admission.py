import anyio
import msgspec
import pytest
import structlog
from msgspec import UNSET

from antiphon.backends.backend import AnswerPart, Call, Spent
from antiphon.errors import InternalServerError, RateLimitError, ServiceUnavailableError
from antiphon.protocol.rate_limits import RateLimitState
from antiphon.protocol.requests import CreateChatCompletion, decode_request
from antiphon.protocol.responses import ChatCompletionChunk, CompletionUsage
from antiphon.protocol.tools import FunctionDefinition, FunctionTool
from antiphon.service.access import Caller
from antiphon.service.admission import admitted
from antiphon.service.records import RequestStats
from antiphon.store.database import Database
from antiphon.store.keys import Principal
from antiphon.store.limits import Limits, RateLimiter
from tests.store.rows import Clock

pytestmark = pytest.mark.anyio

TEXT = "x" * 400
REQUEST = decode_request(
    b'{"model": "m", "messages": [{"role": "user", "content": "%s"}], "max_completion_tokens": 300, "n": 2}'
    % TEXT.encode()
)

SMALL = decode_request(b'{"model": "m", "messages": [{"role": "user", "content": "x"}]}')


def limiter(database: Database, limits: Limits) -> RateLimiter:
    return RateLimiter(database, holder="test", project=limits, clock=Clock())


def call(identifier: str, request: CreateChatCompletion = REQUEST) -> Call:
    return Call(completion_id=identifier, created=1, request=request)


def stats(*, usage: CompletionUsage | None = None, chunks: int = 0) -> RequestStats:
    stats_so_far = RequestStats(lambda: 0.0)
    for number in range(chunks):
        last = number == chunks - 1
        chunk = ChatCompletionChunk(
            id="c",
            created=1,
            model="m",
            service_tier="default",
            system_fingerprint="f",
            choices=[],
            usage=usage if usage and last else UNSET,
        )
        stats_so_far.add(AnswerPart([chunk]))
    return stats_so_far


async def remaining(
    limits: RateLimiter,
    stats_so_far: RequestStats,
    spent: Spent | None = None,
    request: CreateChatCompletion = REQUEST,
) -> int:
    """Admit and settle one request with these statistics; return the remaining tokens."""
    first = call("a", request)
    if spent is not None:
        stats_so_far.add(AnswerPart([], spent))
    async with admitted(limits, first, Caller(), stats_so_far):
        pass
    async with admitted(
        limits,
        call("b", SMALL),
        Caller(),
        stats_so_far,
    ) as state:
        assert state.tokens is not None
        return state.tokens.remaining


async def test_without_limits_there_is_no_statement_and_no_rate_limit_state(database: Database) -> None:
    async with admitted(limiter(database, Limits()), call("a"), Caller(), stats()) as state:
        assert RateLimitState() == state
    async with admitted(None, call("a"), Caller(), stats()) as state:
        assert RateLimitState() == state


async def test_estimate_is_the_larger_of_prompt_and_maximal_answer(database: Database) -> None:
    limits = limiter(database, Limits(tokens_per_minute=1000))
    async with admitted(limits, call("a"), Caller(), stats()) as state:
        assert state.tokens is not None
        assert 400 == state.tokens.remaining


async def test_completed_request_is_charged_its_usage(database: Database) -> None:
    limits = limiter(database, Limits(tokens_per_minute=1000))
    usage = CompletionUsage(prompt_tokens=100, completion_tokens=50, total_tokens=150)
    left = await remaining(limits, stats(usage=usage, chunks=3))
    assert 850 - 20 < left <= 850


async def test_partial_answer_is_charged_its_prompt_and_chunks(database: Database) -> None:
    limits = limiter(database, Limits(tokens_per_minute=1000))
    left = await remaining(limits, stats(chunks=10))
    assert 1000 - 110 - 10 - 30 < left <= 1000 - 100 - 10


async def test_partial_answer_is_charged_the_tokens_of_the_backend(database: Database) -> None:
    limits = limiter(database, Limits(tokens_per_minute=1000))
    left = await remaining(limits, stats(chunks=2), Spent(prompt_tokens=300, completion_tokens=40))
    assert 660 - 20 < left <= 660


@pytest.mark.parametrize("error", [None, InternalServerError("no grammar")])
async def test_request_that_ended_during_its_prompt_is_charged_the_prompt(
    database: Database, error: Exception | None
) -> None:
    stats_so_far = stats()
    if error is not None:
        stats_so_far.fail(error)
    left = await remaining(limiter(database, Limits(tokens_per_minute=1000)), stats_so_far, Spent(prompt_tokens=300))
    assert 700 - 20 < left <= 700


async def test_disconnect_before_the_engine_began_is_charged_the_estimate(database: Database) -> None:
    left = await remaining(limiter(database, Limits(tokens_per_minute=1000)), stats())
    assert 900 - 40 < left <= 900


async def test_tools_count_as_a_part_of_the_prompt(database: Database) -> None:
    tool = FunctionTool(function=FunctionDefinition(name="f", description="x" * 800))
    asked = msgspec.structs.replace(SMALL, tools=[tool])
    left = await remaining(limiter(database, Limits(tokens_per_minute=1000)), stats(), request=asked)
    assert 800 - 60 < left <= 800


async def test_a_request_that_failed_before_the_engine_began_is_charged_no_tokens(database: Database) -> None:
    stats_so_far = stats()
    stats_so_far.fail(ServiceUnavailableError("no engine"))
    left = await remaining(limiter(database, Limits(tokens_per_minute=1000)), stats_so_far)
    assert 1000 - 20 < left <= 1000


async def test_request_over_the_limit_is_refused_with_the_headers(database: Database) -> None:
    limits = limiter(database, Limits(requests_per_minute=1))
    async with admitted(limits, call("a"), Caller(), stats()):
        pass
    with pytest.raises(RateLimitError) as caught:
        async with admitted(limits, call("b"), Caller(), stats()):
            pass
    assert "0" == caught.value.headers["x-ratelimit-remaining-requests"]
    assert caught.value.retry_after is not None


async def test_the_end_user_that_a_request_names_is_limited_within_its_project(database: Database) -> None:
    limits = RateLimiter(database, holder="test", end_user=Limits(requests_per_minute=1), clock=Clock())
    asked = msgspec.structs.replace(SMALL, safety_identifier="ada", user="bob")
    async with admitted(limits, call("a", asked), Caller(), stats()) as state:
        assert state.requests is not None
        assert 0 == state.requests.remaining
    with pytest.raises(RateLimitError, match="of an end user"):
        async with admitted(limits, call("b", asked), Caller(), stats()):
            pass
    elsewhere = Caller(principal=Principal(project_id="other"))
    for caller, request in ((elsewhere, asked), (Caller(), msgspec.structs.replace(SMALL, user="bob"))):
        async with admitted(limits, call("c", request), caller, stats()):
            pass


async def test_every_end_of_the_block_frees_the_place(database: Database) -> None:
    limits = limiter(database, Limits(concurrent_requests=1))
    with pytest.raises(ValueError, match="failed"):
        async with admitted(limits, call("a"), Caller(), stats()):
            raise ValueError("failed")
    with anyio.CancelScope() as scope:
        async with admitted(limits, call("b"), Caller(), stats()):
            scope.cancel()
            await anyio.sleep(1)
    async with admitted(limits, call("c"), Caller(), stats()):
        pass


async def test_failure_to_settle_does_not_fail_the_answer(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise ServiceUnavailableError("The database is busy.")

    limits = limiter(database, Limits(concurrent_requests=1))
    monkeypatch.setattr(limits, "settle", fail)
    with structlog.testing.capture_logs() as lines:
        async with admitted(limits, call("a"), Caller(), stats()):
            pass
    assert ["rate_limit_not_settled"] == [line["event"] for line in lines]
