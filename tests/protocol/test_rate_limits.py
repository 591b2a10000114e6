import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.protocol.rate_limits import Allowance, RateLimitState, duration, rate_limit_headers


@pytest.mark.parametrize(
    ("expected", "seconds"),
    [
        ("0s", 0),
        ("17ms", 0.017),
        ("1s", 1),
        ("1s", 1.5),
        ("1m0s", 60),
        ("6m5s", 365.2),
        ("1h0m", 3600),
        ("1d2h", 93600),
    ],
)
def test_duration_has_the_form_of_the_reference(expected: str, seconds: float) -> None:
    assert expected == duration(seconds)


@given(st.floats(0, 10**7))
def test_every_duration_has_a_text(seconds: float) -> None:
    assert duration(seconds)[0].isdigit()


def test_each_limit_gives_three_headers() -> None:
    state = RateLimitState(tokens=Allowance(limit=60, remaining=59, reset=1.0))
    assert {
        "x-ratelimit-limit-tokens": "60",
        "x-ratelimit-remaining-tokens": "59",
        "x-ratelimit-reset-tokens": "1s",
    } == rate_limit_headers(state)


def test_without_limits_there_are_no_headers() -> None:
    assert {} == rate_limit_headers(RateLimitState())
