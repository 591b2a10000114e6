"""Rate limits of requests and tokens per minute and of concurrent requests."""

import asyncio
import time
from contextlib import suppress
from typing import cast

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Table, func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from antiphon.errors import RateLimitError, ServiceUnavailableError
from antiphon.protocol.rate_limits import Allowance
from antiphon.store.database import Database
from antiphon.store.keys import Principal
from antiphon.store.limits import UNLIMITED, Admission, Limits, RateLimiter
from antiphon.store.rate_leases import LEASE, SECOND
from antiphon.store.schema import rate_leases, rate_limits
from tests.databases import Site
from tests.store.rows import PROJECT, Clock, recorded

pytestmark = pytest.mark.anyio

ME = Principal(project_id=PROJECT, key_id="key_me")
COLLEAGUE = Principal(project_id=PROJECT, key_id="key_colleague")
STRANGER = Principal(project_id="proj_other", key_id="key_stranger")
OPEN = Principal()
WAIT = 10.0
"""Seconds after which a call counts as waiting for a lock."""


@pytest.fixture
def clock() -> Clock:
    return Clock()


def limiter(
    database: Database,
    clock: Clock,
    *,
    project: Limits = UNLIMITED,
    key: Limits = UNLIMITED,
    end_user: Limits = UNLIMITED,
    holder: str = "a",
) -> RateLimiter:
    return RateLimiter(database, holder=holder, project=project, key=key, end_user=end_user, clock=clock)


async def refusal(
    limits: RateLimiter, principal: Principal = ME, *, tokens: int = 0, end_user: str | None = None
) -> RateLimitError:
    with pytest.raises(RateLimitError) as caught:
        await limits.admit("refused", principal, tokens=tokens, end_user=end_user)
    assert isinstance(caught.value, RateLimitError)
    return caught.value


async def leases(database: Database) -> int:
    statement = select(func.count()).select_from(rate_leases)
    return await database.read(lambda connection: connection.execute(statement).scalar_one())


async def scopes(database: Database) -> list[str]:
    """Return the scopes with an allowance in the database, sorted."""
    statement = select(rate_limits.c.scope).order_by(rate_limits.c.scope)
    return list(await database.read(lambda connection: connection.execute(statement).scalars().all()))


async def test_without_limits_there_is_no_statement(database: Database, clock: Clock) -> None:
    limits = limiter(database, clock)
    with recorded(database) as statements:
        admission = await limits.admit("r", ME, tokens=10, end_user="ada")
        await limits.settle(admission, tokens=20)
        await limits.renew()
        assert 0 == await limits.sweep()
    assert [] == statements
    assert (None, None) == (admission.state.requests, admission.state.tokens)


@pytest.mark.parametrize(
    ("active", "project", "key"),
    [
        (False, Limits(), Limits()),
        (True, Limits(), Limits(requests_per_minute=1)),
        (True, Limits(concurrent_requests=1), Limits()),
    ],
)
def test_limiter_is_active_with_any_limit(
    active: bool,  # noqa: FBT001 (expected value)
    project: Limits,
    key: Limits,
) -> None:
    assert active == RateLimiter(cast("Database", None), holder="a", project=project, key=key).active


@pytest.mark.parametrize("rules", [Limits(requests_per_minute=9), Limits(concurrent_requests=9)])
async def test_renew_without_leases_makes_no_statement(rules: Limits, database: Database, clock: Clock) -> None:
    limits = limiter(database, clock, key=rules)
    admission = await limits.admit("r", ME, tokens=0)
    if rules.concurrent_requests is not None:
        await limits.settle(admission, tokens=0)
    with recorded(database) as statements:
        await limits.renew()
    assert [] == statements


async def test_a_request_without_a_key_has_the_limits_of_projects_only(database: Database, clock: Clock) -> None:
    limits = limiter(database, clock, key=Limits(requests_per_minute=1), project=Limits(requests_per_minute=9))
    for number in range(2):
        assert 9 == (await limits.admit(f"r{number}", OPEN, tokens=0)).state.requests.limit  # type: ignore[union-attr]


async def test_allowance_is_full_before_the_first_charge(database: Database, clock: Clock) -> None:
    limits = limiter(database, clock, key=Limits(tokens_per_minute=100))
    assert Allowance(limit=100, remaining=100, reset=0.0) == (await limits.admit("r", ME, tokens=0)).state.tokens


async def test_largest_allowance_can_be_used_completely(database: Database, clock: Clock) -> None:
    limit = 10**9
    limits = limiter(database, clock, key=Limits(tokens_per_minute=limit))
    admission = await limits.admit("r", ME, tokens=limit)
    assert Allowance(limit=limit, remaining=0, reset=60.0) == admission.state.tokens


async def test_remaining_requests_are_rounded_down(database: Database, clock: Clock) -> None:
    limits = limiter(database, clock, key=Limits(requests_per_minute=7, concurrent_requests=1))
    await limits.admit("r", ME, tokens=0)
    error = await refusal(limits)
    assert {
        "x-ratelimit-limit-requests": "7",
        "x-ratelimit-remaining-requests": "5",
        "x-ratelimit-reset-requests": "17s",
    } == error.headers


async def test_error_names_a_wait_below_a_second(database: Database, clock: Clock) -> None:
    limits = limiter(database, clock, key=Limits(requests_per_minute=240))
    for number in range(240):
        await limits.admit(f"r{number}", ME, tokens=0)
    assert 0.25 == (await refusal(limits)).retry_after


@pytest.mark.parametrize(("wait", "tokens", "name"), [(30.0, 25, "requests"), (48.0, 80, "tokens")])
async def test_error_of_two_limits_names_the_longer_wait(
    wait: float, tokens: int, name: str, database: Database, clock: Clock
) -> None:
    limits = limiter(database, clock, key=Limits(requests_per_minute=2, tokens_per_minute=100))
    for number in range(2):
        await limits.admit(f"r{number}", ME, tokens=50)
    error = await refusal(limits, tokens=tokens)
    assert (wait, f"Rate limit reached for {name} per minute") == (error.retry_after, error.message.partition(":")[0])


async def test_requests_per_minute_are_limited(database: Database, clock: Clock) -> None:
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


async def test_request_is_admitted_after_its_retry_after(database: Database, clock: Clock) -> None:
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


async def test_allowance_is_at_most_one_minute_s(database: Database, clock: Clock) -> None:
    limits = limiter(database, clock, key=Limits(requests_per_minute=3))
    await limits.admit("r", ME, tokens=0)
    clock.now += 1000
    for number in range(3):
        await limits.admit(f"r{number}", ME, tokens=0)
    await refusal(limits)


async def test_settle_refunds_the_difference_to_the_estimate(database: Database, clock: Clock) -> None:
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


async def test_settle_charges_an_underestimate(database: Database, clock: Clock) -> None:
    limits = limiter(database, clock, key=Limits(tokens_per_minute=100))
    admission = await limits.admit("r1", ME, tokens=10)
    clock.now += 1000
    await limits.settle(admission, tokens=100)
    await limits.admit("r2", ME, tokens=10)
    await refusal(limits, tokens=1)


async def test_request_larger_than_the_allowance_is_refused_without_retry(database: Database, clock: Clock) -> None:
    limits = limiter(database, clock, key=Limits(tokens_per_minute=100))
    error = await refusal(limits, tokens=101)
    assert "Request too large for tokens per minute: Limit 100, Requested 101." == error.message
    assert (None, "false") == (error.retry_after, error.headers["x-should-retry"])
    await limits.admit("r", ME, tokens=100)


async def test_refused_request_is_not_charged(database: Database, clock: Clock) -> None:
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


async def test_concurrent_requests_are_limited(database: Database, clock: Clock) -> None:
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


async def test_leases_of_a_dead_process_expire(database: Database, clock: Clock) -> None:
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


async def test_renewed_lease_counts_for_other_processes(database: Database, clock: Clock) -> None:
    rules = Limits(concurrent_requests=1)
    first = limiter(database, clock, key=rules, holder="first")
    second = limiter(database, clock, key=rules, holder="second")
    await first.admit("r1", ME, tokens=0)
    clock.now += LEASE - 1
    await first.renew()
    clock.now += LEASE - 1
    await refusal(second)
    clock.now += 1
    await second.admit("r2", ME, tokens=0)


async def test_renew_takes_no_leases_without_a_concurrency_limit(database: Database, clock: Clock) -> None:
    limits = limiter(database, clock, key=Limits(concurrent_requests=1), project=Limits(requests_per_minute=9))
    await limits.admit("r1", ME, tokens=0)
    await limits.renew()
    assert 1 == await leases(database)


HOUR = 3600.0
BOTH = Limits(requests_per_minute=3, tokens_per_minute=100)


async def test_step_back_of_the_clock_does_not_change_the_allowance(database: Database, clock: Clock) -> None:
    limits = limiter(database, clock, key=BOTH)
    await limits.admit("r1", ME, tokens=40)
    clock.now -= HOUR
    second = await limits.admit("r2", ME, tokens=50)
    assert Allowance(limit=3, remaining=1, reset=40.0) == second.state.requests
    assert Allowance(limit=100, remaining=10, reset=54.0) == second.state.tokens


async def test_request_is_admitted_after_its_retry_after_when_the_clock_steps_back(
    database: Database, clock: Clock
) -> None:
    limits = limiter(database, clock, key=BOTH)
    for number in range(3):
        await limits.admit(f"r{number}", ME, tokens=0)
    clock.now -= HOUR
    error = await refusal(limits)
    assert 20.0 == error.retry_after
    clock.now += 20.0
    await limits.admit("r", ME, tokens=0)
    await refusal(limits)


async def test_overdrawn_allowance_stays_overdrawn_when_the_clock_steps_back(database: Database, clock: Clock) -> None:
    limits = limiter(database, clock, key=Limits(tokens_per_minute=100))
    await limits.settle(await limits.admit("r1", ME, tokens=10), tokens=300)
    clock.now -= HOUR
    assert 120.6 == (await refusal(limits, tokens=1)).retry_after
    clock.now += 120.6
    await limits.admit("r2", ME, tokens=1)


async def test_a_request_may_begin_before_the_clock_steps_back_and_end_after(database: Database, clock: Clock) -> None:
    limits = limiter(database, clock, key=BOTH)
    admission = await limits.admit("r1", ME, tokens=10)
    clock.now -= HOUR
    await limits.settle(admission, tokens=60)
    second = await limits.admit("r2", ME, tokens=10)
    assert Allowance(limit=3, remaining=1, reset=40.0) == second.state.requests
    assert Allowance(limit=100, remaining=30, reset=42.0) == second.state.tokens


async def test_each_step_forward_of_the_clock_fills_the_allowance_once(database: Database, clock: Clock) -> None:
    limits = limiter(database, clock, key=Limits(requests_per_minute=3))
    for step in (HOUR, -HOUR, HOUR, -HOUR):
        clock.now += step
        for number in range(3 if step > 0 else 0):
            await limits.admit(f"r{clock.now}{number}", ME, tokens=0)
        await refusal(limits)


async def test_clocks_that_differ_by_seconds_do_not_add_allowance(database: Database, clock: Clock) -> None:
    behind = Clock(clock.now - 5.0)
    rules = Limits(requests_per_minute=20)
    both = [limiter(database, each, key=rules, holder=str(each.now)) for each in (clock, behind)]
    admitted = 0
    for number in range(60):
        with suppress(RateLimitError):
            await both[number % 2].admit(f"r{number}", ME, tokens=0)
            admitted += 1
    assert 20 == admitted


async def test_leases_of_a_dead_process_expire_when_the_clock_steps_back(database: Database, clock: Clock) -> None:
    rules = Limits(concurrent_requests=2)
    dead = limiter(database, clock, key=rules, holder="dead")
    alive = limiter(database, clock, key=rules, holder="alive")
    await dead.admit("r1", ME, tokens=0)
    await alive.admit("r2", ME, tokens=0)
    clock.now -= HOUR
    await alive.renew()
    await refusal(alive)
    clock.now += LEASE - 1
    await alive.renew()
    await refusal(alive)
    clock.now += 1
    await alive.admit("r3", ME, tokens=0)
    await refusal(alive)


async def test_running_requests_keep_their_leases_when_the_clock_steps_forward(
    database: Database, clock: Clock
) -> None:
    limits = limiter(database, clock, key=Limits(concurrent_requests=2))
    for number in range(2):
        await limits.admit(f"r{number}", ME, tokens=0)
    clock.now += HOUR
    await refusal(limits)


async def test_renew_takes_a_lease_again_that_another_process_deleted(database: Database, clock: Clock) -> None:
    rules = Limits(concurrent_requests=2)
    first = limiter(database, clock, key=rules, holder="first")
    second = limiter(database, clock, key=rules, holder="second")
    await first.admit("r1", ME, tokens=0)
    clock.now += HOUR
    taken = await second.admit("r2", ME, tokens=0)
    assert 1 == await leases(database)
    await first.renew()
    assert "Running 2" in (await refusal(second)).message
    await second.settle(taken, tokens=0)
    assert 1 == await leases(database)


async def test_default_clock_of_limits_is_the_clock_of_the_database(database: Database) -> None:
    limits = RateLimiter(database, holder="a", key=Limits(requests_per_minute=1))
    await limits.admit("r", ME, tokens=0)
    error = await refusal(limits)
    assert error.retry_after is not None
    assert 0 < error.retry_after <= 60
    statement = select(rate_limits.c.updated_at)
    written = await database.read(lambda connection: connection.execute(statement).scalar_one())
    assert abs(written / SECOND - time.time()) < 60


async def test_overdrawn_tokens_do_not_refuse_a_request_without_tokens(database: Database, clock: Clock) -> None:
    limits = limiter(database, clock, key=Limits(tokens_per_minute=100))
    await limits.settle(await limits.admit("r1", ME, tokens=10), tokens=300)
    await limits.admit("r2", ME, tokens=0)
    await refusal(limits, tokens=1)


async def test_lease_of_a_request_expires_when_its_end_could_not_be_written(
    database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = limiter(database, clock, key=Limits(concurrent_requests=1))
    admission = await limits.admit("r1", ME, tokens=0)

    async def fail(*_: object, **__: object) -> None:
        raise ServiceUnavailableError("The database is busy.")

    with monkeypatch.context() as patched:
        patched.setattr(database, "write", fail)
        with pytest.raises(ServiceUnavailableError):
            await limits.settle(admission, tokens=0)
    clock.now += LEASE - 1
    await limits.renew()
    await refusal(limits)
    clock.now += 1
    await limits.admit("r2", ME, tokens=0)


async def test_state_is_the_scarcer_of_project_and_key(database: Database, clock: Clock) -> None:
    limits = limiter(
        database,
        clock,
        project=Limits(tokens_per_minute=1000),
        key=Limits(tokens_per_minute=100, requests_per_minute=9),
    )
    await limits.admit("r0", COLLEAGUE, tokens=0)
    for number in range(8):
        await limits.admit(f"p{number}", Principal(project_id=PROJECT), tokens=100)
    state = (await limits.admit("r1", ME, tokens=10)).state
    assert Allowance(limit=100, remaining=90, reset=6.0) == state.tokens


async def test_cancelled_admission_leaves_no_lease(database: Database, clock: Clock) -> None:
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


ONE_A_MINUTE = Limits(requests_per_minute=1)
ONE_AT_ONCE = Limits(concurrent_requests=1)


async def test_request_over_the_limit_of_its_end_user_is_refused_with_the_headers(
    database: Database, clock: Clock
) -> None:
    limits = limiter(database, clock, key=Limits(requests_per_minute=9), end_user=Limits(requests_per_minute=2))
    first = await limits.admit("r1", ME, tokens=0, end_user="ada")
    assert Allowance(limit=2, remaining=1, reset=30.0) == first.state.requests
    await limits.admit("r2", ME, tokens=0, end_user="ada")
    error = await refusal(limits, end_user="ada")
    message = (
        "Rate limit reached for requests per minute of an end user: Limit 2, Requested 1. Please try again in 30.000s."
    )
    assert (message, 30.0) == (error.message, error.retry_after)
    assert "0" == error.headers["x-ratelimit-remaining-requests"]


async def test_concurrent_requests_of_an_end_user_are_limited(database: Database, clock: Clock) -> None:
    limits = limiter(database, clock, end_user=ONE_AT_ONCE)
    first = await limits.admit("r1", ME, tokens=0, end_user="ada")
    message = "Rate limit reached for concurrent requests of an end user: Limit 1, Running 1. Please try again."
    assert message == (await refusal(limits, end_user="ada")).message
    await limits.admit("r2", ME, tokens=0, end_user="bob")
    await limits.settle(first, tokens=0)
    await limits.admit("r3", ME, tokens=0, end_user="ada")


async def test_request_without_an_end_user_has_no_end_user_limits(database: Database, clock: Clock) -> None:
    limits = limiter(database, clock, end_user=Limits(requests_per_minute=1, concurrent_requests=1))
    with recorded(database) as statements:
        for number in range(3):
            await limits.admit(f"r{number}", ME, tokens=0)
    assert [] == statements


async def test_request_refused_for_its_end_user_is_not_charged_to_its_project(database: Database, clock: Clock) -> None:
    limits = limiter(database, clock, project=Limits(requests_per_minute=2), end_user=ONE_A_MINUTE)
    await limits.admit("r1", ME, tokens=0, end_user="ada")
    await refusal(limits, end_user="ada")
    await limits.admit("r2", ME, tokens=0, end_user="bob")
    assert "of an end user" not in (await refusal(limits, end_user="cid")).message


async def test_sweep_deletes_full_allowances_of_end_users(database: Database, clock: Clock) -> None:
    limits = limiter(database, clock, key=ONE_A_MINUTE, end_user=ONE_A_MINUTE)
    await limits.admit("r1", ME, tokens=0, end_user="ada")
    clock.now += 30
    await limits.admit("r2", COLLEAGUE, tokens=0, end_user="bob")
    assert 0 == await limits.sweep()
    clock.now += 30
    assert 1 == await limits.sweep()
    assert ["end_user:bob", "key:key_colleague", "key:key_me"] == await scopes(database)
    await refusal(limits, STRANGER, end_user="bob")
    await limits.admit("r3", STRANGER, tokens=0, end_user="ada")


async def test_sweep_deletes_end_users_leases_of_a_dead_process(database: Database, clock: Clock) -> None:
    dead = limiter(database, clock, end_user=ONE_AT_ONCE, holder="dead")
    alive = limiter(database, clock, key=ONE_AT_ONCE, end_user=ONE_AT_ONCE, holder="alive")
    await dead.admit("r1", ME, tokens=0, end_user="ada")
    clock.now += LEASE - 1
    await alive.admit("r2", ME, tokens=0, end_user="bob")
    assert 2 == await alive.sweep(), "the allowances of both"
    clock.now += 1
    assert 1 == await alive.sweep()
    assert 2 == await leases(database), "of the end user that still runs, and of its key"


async def test_sweep_keeps_the_leases_of_running_requests(database: Database, clock: Clock) -> None:
    limits = limiter(database, clock, end_user=ONE_AT_ONCE)
    await limits.admit("r1", ME, tokens=0, end_user="ada")
    clock.now += 2 * LEASE
    await limits.sweep()
    assert 1 == await leases(database)
    await refusal(limits, end_user="ada")


async def test_sweep_deletes_all_rows_in_several_transactions(
    database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("antiphon.store.limits.SWEEP_BATCH", 2)
    limits = limiter(database, clock, end_user=ONE_A_MINUTE)
    for number in range(5):
        await limits.admit(f"r{number}", ME, tokens=0, end_user=str(number))
    clock.now += 60
    assert 5 == await limits.sweep()
    assert [] == await scopes(database)


@pytest.mark.parametrize("table", [rate_limits, rate_leases])
async def test_sweep_does_not_wait_for_locked_rows(postgresql_site: Site, clock: Clock, table: Table) -> None:
    async with postgresql_site.open() as database, postgresql_site.open() as other:
        limits = limiter(database, clock, end_user=ONE_AT_ONCE)
        admission = await limits.admit("r", ME, tokens=0, end_user="ada")
        await other.write(lambda connection: connection.execute(rate_leases.update().values(holder="dead")))
        clock.now += LEASE
        async with AsyncEngine(other._engine).begin() as connection:
            await connection.execute(update(table).values(scope=table.c.scope))
            with anyio.fail_after(WAIT):
                assert 1 == await limits.sweep(), "the row of the other table"
        assert 1 == await limits.sweep()
        await limits.settle(admission, tokens=0)


async def test_limits_of_an_end_user_hold_during_a_sweep(site: Site, clock: Clock) -> None:
    admitted: list[Admission] = []

    async def ask(limits: RateLimiter, name: str) -> None:
        with suppress(RateLimitError):
            admitted.append(await limits.admit(name, ME, tokens=0, end_user="ada"))

    async with site.open() as first, site.open() as second:
        limiters = [
            limiter(database, clock, end_user=Limits(concurrent_requests=3), holder=str(id(database)))
            for database in (first, second)
        ]
        async with anyio.create_task_group() as group:
            for number in range(30):
                group.start_soon(ask, limiters[number % 2], f"r{number}")
                group.start_soon(limiters[number % 2].sweep)
    assert 3 == len(admitted)


STEPS = st.lists(st.tuples(st.floats(0, 40), st.integers(0, 60)), min_size=1, max_size=12)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_meter_equals_a_leaky_bucket(database: Database, steps: list[tuple[float, int]]) -> None:
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
