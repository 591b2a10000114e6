import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.cli.scrape import Scrape, ScrapeInterval
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


def test_models_are_listed_in_the_servers_order() -> None:
    metrics = Metrics(lambda: [Reading(READY, (name,), 1) for name in ("b", "a")])
    assert ["b", "a"] == page(metrics).models()


def test_growth_of_a_counter_is_the_difference_of_its_own_series() -> None:
    interval = ScrapeInterval(counted(3), counted(10, 2.0))
    assert (7, 3.5) == (
        interval.increase(REASONING_TOKENS, model_name="m"),
        interval.rate(REASONING_TOKENS, model_name="m"),
    )


def test_counter_that_fell_counts_from_0() -> None:
    assert 2 == ScrapeInterval(counted(10), counted(2)).increase(REASONING_TOKENS, model_name="m")


def test_interval_without_a_first_page_has_the_whole_growth_and_no_rate() -> None:
    interval = ScrapeInterval(None, counted(10, 2.0))
    assert (10, None) == (interval.increase(REASONING_TOKENS, model_name="m"), interval.rate(REASONING_TOKENS))


def test_share_of_no_growth_is_none() -> None:
    metrics = Metrics()
    first = page(metrics)
    metrics.count(DRAFT_TOKENS, "m", by=8)
    metrics.count(ACCEPTED_TOKENS, "m", by=6)
    assert (None, 0.75) == (
        ScrapeInterval(first, first).share(ACCEPTED_TOKENS, DRAFT_TOKENS),
        ScrapeInterval(first, page(metrics)).share(ACCEPTED_TOKENS, DRAFT_TOKENS),
    )


def test_a_quantile_lies_within_its_bucket_in_proportion() -> None:
    # Four values between 0.1 and 0.15 s: half of them lie below the middle.
    interval = ScrapeInterval(None, page(waited(0.12, 0.12, 0.12, 0.12)))
    quantiles = [interval.quantile(FIRST_TOKEN, q, model_name="m") for q in (0.5, 1.0)]
    assert [125, 150] == [round(1000 * quantile) for quantile in quantiles if quantile is not None]


def test_quantile_covers_new_values_of_all_tiers() -> None:
    metrics = waited(30.0, 30.0)
    first = page(metrics)
    metrics.observe(FIRST_TOKEN, 0.0005, "m", "flex")
    assert 0.0005 == ScrapeInterval(first, page(metrics)).quantile(FIRST_TOKEN, 0.5, model_name="m")


def test_quantile_without_values_is_none() -> None:
    scrape = page(waited())
    assert (None, None) == (
        ScrapeInterval(None, scrape).quantile(FIRST_TOKEN, 0.5, model_name="m"),
        ScrapeInterval(None, scrape).quantile(FIRST_TOKEN, 0.5, model_name="of another server"),
    )


def test_quantile_above_the_last_bound_is_that_bound() -> None:
    assert BOUNDS[-1] == ScrapeInterval(None, page(waited(10**6))).quantile(FIRST_TOKEN, 0.5, model_name="m")


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(0.0001, 600), min_size=1, max_size=30), st.floats(0.01, 1))
def test_a_quantile_is_in_the_bucket_of_the_value_that_it_estimates(values: list[float], q: float) -> None:
    found = ScrapeInterval(None, page(waited(*values))).quantile(FIRST_TOKEN, q, model_name="m")
    assert found is not None
    value = sorted(values)[max(0, -int(-q * len(values) // 1) - 1)]
    upper = min(bound for bound in BOUNDS if bound >= value)
    lower = max((bound for bound in (0.0, *BOUNDS) if bound < value), default=0.0)
    assert lower <= found <= upper + 1e-9


@pytest.mark.parametrize("text", ["", "python_info 1.0\n"])
def test_metrics_page_of_another_program_is_refused(text: str) -> None:
    with pytest.raises(CommandError, match="not those of Antiphon"):
        Scrape.parse(text, 0.0)


def test_text_that_is_not_a_metrics_page_is_refused() -> None:
    with pytest.raises(CommandError, match="cannot be read"):
        Scrape.parse("<html>no metrics</html>", 0.0)
