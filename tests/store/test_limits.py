"""Rate limits that hold whoever asks: by the minute, by tokens, and by how many run at once."""

import asyncio

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from antiphon.errors import RateLimitError
from antiphon.protocol.rate_limits import Allowance
from antiphon.store.database import Database
from antiphon.store.keys import Principal
from antiphon.store.limits import LEASE, Admission, Limits, RateLimiter
from antiphon.store.schema import rate_leases, rate_limits
from tests.databases import Site
from tests.store.rows import PROJECT, Clock, recorded

pytestmark = pytest.mark.anyio

ME = Principal(project_id=PROJECT, key_id="key_me")
COLLEAGUE = Principal(project_id=PROJECT, key_id="key_colleague")
STRANGER = Principal(project_id="proj_other", key_id="key_stranger")
OPEN = Principal()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def limiter(
    database: Database, clock: Clock, *, project: Limits | None = None, key: Limits | None = None, holder: str = "a"
) -> RateLimiter:
    return RateLimiter(database, holder=holder, project=project or Limits(), key=key or Limits(), clock=clock)


async def refusal(limits: RateLimiter, principal: Principal = ME, *, tokens: int = 0) -> RateLimitError:
    with pytest.raises(RateLimitError) as caught:
        await limits.admit("refused", principal, tokens=tokens)
    assert isinstance(caught.value, RateLimitError)
    return caught.value


async def leases(database: Database) -> int:
    statement = select(func.count()).select_from(rate_leases)
    return await database.read(lambda connection: connection.execute(statement).scalar_one())


async def test_without_limits_nothing_is_asked(database: Database, clock: Clock) -> None:
    limits = limiter(database, clock)
    with recorded(database) as statements:
        admission = await limits.admit("r", ME, tokens=10)
        await limits.settle(admission, tokens=20)
        await limits.renew()
    assert [] == statements
    assert (None, None) == (admission.state.requests, admission.state.tokens)


async def test_requests_a_minute(database: Database, clock: Clock) -> None:
    limits = limiter(database, clock, key=Limits(requests_per_minute=3))
    states = [(await limits.admit(f"r{number}", ME, tokens=0)).state.requests for number in range(3)]
    expected = [Allowance(limit=3, remaining=2 - number, reset=20.0 * (number + 1)) for number in range(3)]
    assert expected == states
    error = await refusal(limits)
    message = "Rate limit reached for requests per minute: Limit 3, Requested 1. Please try again in 20.000s."
    assert (message, 20.0, 429, "rate_limit_exceeded") == (error.message, error.retry_after, error.status, error.code)
    assert {
        "x-ratelimit-limit-requests": "3",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "1m0s",
    } == error.headers
    assert 3 == (await limits.admit("s", STRANGER, tokens=0)).state.requests.limit  # type: ignore[union-attr]


async def test_who_waits_as_long_as_told_is_let_in(database: Database, clock: Clock) -> None:
    limits = limiter(database, clock, key=Limits(requests_per_minute=7))
    for number in range(7):
        await limits.admit(f"r{number}", ME, tokens=0)
    error = await refusal(limits)
    assert error.retry_after is not None
    clock.now += error.retry_after - 0.01
    await refusal(limits)
    clock.now += 0.01
    await limits.admit("r", ME, tokens=0)
    await refusal(limits)


async def test_an_allowance_does_not_grow_beyond_a_minute(database: Database, clock: Clock) -> None:
    limits = limiter(database, clock, key=Limits(requests_per_minute=3))
    await limits.admit("r", ME, tokens=0)
    clock.now += 1000
    for number in range(3):
        await limits.admit(f"r{number}", ME, tokens=0)
    await refusal(limits)


async def test_tokens_are_estimated_before_and_counted_after(database: Database, clock: Clock) -> None:
    limits = limiter(database, clock, key=Limits(tokens_per_minute=100))
    admission = await limits.admit("r1", ME, tokens=60)
    assert Allowance(limit=100, remaining=40, reset=36.0) == admission.state.tokens
    error = await refusal(limits, tokens=50)
    message = "Rate limit reached for tokens per minute: Limit 100, Requested 50. Please try again in 6.000s."
    assert (message, 6.0) == (error.message, error.retry_after)
    await limits.settle(admission, tokens=20)
    second = await limits.admit("r2", ME, tokens=50)
    assert second.state.tokens is not None
    assert 30 == second.state.tokens.remaining
    await limits.settle(second, tokens=150)
    assert "0" == (await refusal(limits, tokens=1)).headers["x-ratelimit-remaining-tokens"]
    clock.now += 60
    await limits.admit("r3", ME, tokens=30)
    await refusal(limits, tokens=1)


async def test_an_underestimate_is_charged_from_when_it_is_known(database: Database, clock: Clock) -> None:
    limits = limiter(database, clock, key=Limits(tokens_per_minute=100))
    admission = await limits.admit("r1", ME, tokens=10)
    clock.now += 1000
    await limits.settle(admission, tokens=100)
    await limits.admit("r2", ME, tokens=10)
    await refusal(limits, tokens=1)


async def test_a_request_beyond_the_whole_allowance_never_passes(database: Database, clock: Clock) -> None:
    limits = limiter(database, clock, key=Limits(tokens_per_minute=100))
    error = await refusal(limits, tokens=101)
    assert "Request too large for tokens per minute: Limit 100, Requested 101." == error.message
    assert (None, "false") == (error.retry_after, error.headers["x-should-retry"])
    await limits.admit("r", ME, tokens=100)


async def test_a_refused_request_is_charged_for_nothing(database: Database, clock: Clock) -> None:
    both = Limits(requests_per_minute=10, tokens_per_minute=100)
    limits = limiter(database, clock, key=both, project=Limits(requests_per_minute=1))
    await limits.admit("r1", ME, tokens=10)
    before = await database.read(lambda connection: connection.execute(rate_limits.select()).all())
    await refusal(limits, tokens=10)
    await refusal(limits, tokens=95)
    assert before == await database.read(lambda connection: connection.execute(rate_limits.select()).all())


async def test_a_project_s_limit_is_shared_by_its_keys(database: Database, clock: Clock) -> None:
    limits = limiter(database, clock, project=Limits(requests_per_minute=2), key=Limits(requests_per_minute=9))
    first = await limits.admit("r1", ME, tokens=0)
    assert Allowance(limit=2, remaining=1, reset=30.0) == first.state.requests
    await limits.admit("r2", COLLEAGUE, tokens=0)
    await refusal(limits, ME)
    await refusal(limits, OPEN)
    await limits.admit("r3", STRANGER, tokens=0)


async def test_so_many_run_at_once(database: Database, clock: Clock) -> None:
    limits = limiter(database, clock, key=Limits(concurrent_requests=2), project=Limits(concurrent_requests=3))
    first, _ = [await limits.admit(f"r{number}", ME, tokens=0) for number in range(2)]
    error = await refusal(limits)
    message = "Rate limit reached for concurrent requests: Limit 2, Running 2. Please try again."
    assert (message, 1.0) == (error.message, error.retry_after)
    await limits.admit("c", COLLEAGUE, tokens=0)
    assert "Limit 3, Running 3" in (await refusal(limits, COLLEAGUE)).message
    await limits.settle(first, tokens=0)
    await limits.admit("r2", ME, tokens=0)
    assert 6 == await leases(database)


async def test_the_places_of_a_process_that_died_are_free_in_time(database: Database, clock: Clock) -> None:
    dead = limiter(database, clock, key=Limits(concurrent_requests=2), holder="dead")
    alive = limiter(database, clock, key=Limits(concurrent_requests=2), holder="alive")
    await dead.admit("r1", ME, tokens=0)
    await alive.admit("r2", ME, tokens=0)
    clock.now += LEASE - 1
    await alive.renew()
    await refusal(alive)
    clock.now += 1
    await alive.admit("r3", ME, tokens=0)
    await refusal(alive)


async def test_an_admission_that_is_cancelled_holds_no_place(database: Database, clock: Clock) -> None:
    limits = limiter(database, clock, key=Limits(concurrent_requests=1))
    for native in (True, False):
        scope = anyio.CancelScope()

        async def admit(scope: anyio.CancelScope = scope) -> None:
            with scope:
                await limits.admit("r", ME, tokens=0)

        task = asyncio.create_task(admit())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if native:
            task.cancel()
        else:
            scope.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert 0 == await leases(database)


async def test_limits_hold_across_processes(site: Site, clock: Clock) -> None:
    admitted: list[Admission] = []
    refused: list[str] = []

    async def ask(limits: RateLimiter, name: str) -> None:
        try:
            admitted.append(await limits.admit(name, ME, tokens=0))
        except RateLimitError as error:
            refused.append(error.message.partition(":")[0])

    rules = {"key": Limits(concurrent_requests=7), "project": Limits(requests_per_minute=12)}
    async with site.open() as first, site.open() as second:
        limiters = [limiter(database, clock, **rules, holder=str(id(database))) for database in (first, second)]
        async with anyio.create_task_group() as group:
            for number in range(30):
                group.start_soon(ask, limiters[number % 2], f"r{number}")
        assert 7 == len(admitted)
        assert {"Rate limit reached for concurrent requests"} == set(refused)
        for admission in admitted:
            await limiters[0].settle(admission, tokens=0)
        async with anyio.create_task_group() as group:
            for number in range(30):
                group.start_soon(ask, limiters[number % 2], f"s{number}")
        assert 12 == len(admitted)


STEPS = st.lists(st.tuples(st.floats(0, 40), st.integers(0, 60)), min_size=1, max_size=12)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_the_meter_is_a_bucket_that_fills_at_its_rate(database: Database, steps: list[tuple[float, int]]) -> None:
    clock = Clock()
    principal = Principal(project_id=f"p{id(clock)}-{clock.now}", key_id=None)
    await database.write(lambda connection: connection.execute(rate_limits.delete()))
    limits = limiter(database, clock, project=Limits(tokens_per_minute=50))
    level, capacity = 50.0, 50.0
    for number, (wait, tokens) in enumerate(steps):
        clock.now += wait
        level = min(level + wait * capacity / 60, capacity)
        try:
            state = (await limits.admit(f"r{number}", principal, tokens=tokens)).state.tokens
            assert tokens <= level + 1e-4
            level -= tokens
        except RateLimitError as error:
            assert tokens > level - 1e-4
            left = error.headers.get("x-ratelimit-remaining-tokens")
            assert left is None or int(left) == pytest.approx(level, abs=1)
        else:
            assert state is not None
            assert state.remaining == pytest.approx(level, abs=1)
            assert state.reset == pytest.approx((capacity - level) * 60 / capacity, abs=1e-3)
