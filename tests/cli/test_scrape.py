import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.cli.scrape import Scrape, Span
from antiphon.console.command_error import CommandError
from antiphon.telemetry.catalogue import ACCEPTED_TOKENS, DRAFT_TOKENS, FIRST_TOKEN, READY, REASONING_TOKENS
from antiphon.telemetry.metrics import Metrics, Reading

BOUNDS = FIRST_TOKEN.bounds


def page(metrics: Metrics, time: float = 0.0) -> Scrape:
    return Scrape.parse(metrics.page().body.decode(), time)


def counted(by: float, time: float = 0.0) -> Scrape:
    metrics = Metrics()
    metrics.count(REASONING_TOKENS, "m", by=by)
    metrics.count(REASONING_TOKENS, "other", by=100)
    return page(metrics, time)


def waited(*seconds: float, tier: str = "default") -> Metrics:
    metrics = Metrics()
    metrics.expect(FIRST_TOKEN, "m", tier)
    for each in seconds:
        metrics.observe(FIRST_TOKEN, each, "m", tier)
    return metrics


def test_the_models_are_those_whose_engines_are_told_of() -> None:
    metrics = Metrics(lambda: [Reading(READY, (name,), 1) for name in ("b", "a")])
    assert ["b", "a"] == page(metrics).models()


def test_a_counter_grows_by_the_difference_of_its_own_series() -> None:
    span = Span(counted(3), counted(10, 2.0))
    assert (7, 3.5) == (span.increase(REASONING_TOKENS, model_name="m"), span.rate(REASONING_TOKENS, model_name="m"))


def test_a_counter_that_fell_began_anew() -> None:
    assert 2 == Span(counted(10), counted(2)).increase(REASONING_TOKENS, model_name="m")


def test_without_a_first_page_everything_counts_and_no_rate_is_known() -> None:
    span = Span(None, counted(10, 2.0))
    assert (10, None) == (span.increase(REASONING_TOKENS, model_name="m"), span.rate(REASONING_TOKENS))


def test_a_share_of_nothing_is_unknown() -> None:
    metrics = Metrics()
    first = page(metrics)
    metrics.count(DRAFT_TOKENS, "m", by=8)
    metrics.count(ACCEPTED_TOKENS, "m", by=6)
    assert (None, 0.75) == (
        Span(first, first).share(ACCEPTED_TOKENS, DRAFT_TOKENS),
        Span(first, page(metrics)).share(ACCEPTED_TOKENS, DRAFT_TOKENS),
    )


def test_a_quantile_lies_within_its_bucket_in_proportion() -> None:
    # Four values between 0.1 and 0.15 s: half of them lie below the middle.
    span = Span(None, page(waited(0.12, 0.12, 0.12, 0.12)))
    quantiles = [span.quantile(FIRST_TOKEN, q, model_name="m") for q in (0.5, 1.0)]
    assert [125, 150] == [round(1000 * quantile) for quantile in quantiles if quantile is not None]


def test_a_quantile_is_of_what_was_added_and_of_all_tiers() -> None:
    metrics = waited(30.0, 30.0)
    first = page(metrics)
    metrics.observe(FIRST_TOKEN, 0.0005, "m", "flex")
    assert 0.0005 == Span(first, page(metrics)).quantile(FIRST_TOKEN, 0.5, model_name="m")


def test_a_quantile_of_nothing_is_unknown() -> None:
    scrape = page(waited())
    assert (None, None) == (
        Span(None, scrape).quantile(FIRST_TOKEN, 0.5, model_name="m"),
        Span(None, scrape).quantile(FIRST_TOKEN, 0.5, model_name="of another server"),
    )


def test_behind_the_last_bound_a_quantile_is_that_bound() -> None:
    assert BOUNDS[-1] == Span(None, page(waited(10**6))).quantile(FIRST_TOKEN, 0.5, model_name="m")


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(0.0001, 600), min_size=1, max_size=30), st.floats(0.01, 1))
def test_a_quantile_is_in_the_bucket_of_the_value_that_it_estimates(values: list[float], q: float) -> None:
    found = Span(None, page(waited(*values))).quantile(FIRST_TOKEN, q, model_name="m")
    assert found is not None
    value = sorted(values)[max(0, -int(-q * len(values) // 1) - 1)]
    upper = min(bound for bound in BOUNDS if bound >= value)
    lower = max((bound for bound in (0.0, *BOUNDS) if bound < value), default=0.0)
    assert lower <= found <= upper + 1e-9


@pytest.mark.parametrize("text", ["", "python_info 1.0\n"])
def test_the_page_of_another_program_is_told(text: str) -> None:
    with pytest.raises(CommandError, match="not those of Antiphon"):
        Scrape.parse(text, 0.0)


def test_what_is_no_page_is_told() -> None:
    with pytest.raises(CommandError, match="cannot be read"):
        Scrape.parse("<html>no metrics</html>", 0.0)
