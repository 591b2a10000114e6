"""The table of metrics in docs/observability.md agrees with the code."""

import re

import promql_parser as promql
import pytest
from prometheus_client.parser import text_string_to_metric_families

from antiphon.telemetry.catalogue import METRICS
from antiphon.telemetry.metrics import Metrics
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `([a-z0-9:_]+)` \| (\w+) \| (.*?) ?\| (.+) \|$", PAGE, re.MULTILINE)
(QUERIES,) = re.findall(r"```promql\n(.*?)```", PAGE, re.DOTALL)


def test_table_of_metrics_agrees_with_the_catalogue() -> None:
    expected = [
        (metric.full_name, metric.kind, ", ".join(f"`{label}`" for label in metric.labels), metric.help)
        for metric in METRICS
    ]
    assert expected == [row for row in ROWS if row[0].startswith("antiphon:")]


def test_table_of_metrics_agrees_with_the_metrics_page() -> None:
    families = text_string_to_metric_families(Metrics().page().body.decode())
    shown = {(family.name, family.type) for family in families}
    assert shown == {(name.removesuffix("_total") if kind == "counter" else name, kind) for name, kind, *_ in ROWS}


@pytest.mark.parametrize("query", [line for line in QUERIES.splitlines() if not line.startswith("#")])
def test_example_queries_are_valid_and_use_existing_metrics(query: str) -> None:
    promql.parse(query)
    names = {re.sub("_bucket$", "", name) for name in re.findall(r"antiphon:\w+", query)}
    assert names
    assert set() == names - {metric.full_name for metric in METRICS}
