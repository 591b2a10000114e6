"""Every query of the dashboard is PromQL over series and labels that a server really has."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx2
import promql_parser as promql
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import ROOT
from tests.scripted_engine import ScriptedEngine
from tests.server.asgi import with_signals
from tests.server.conftest import MODEL, scripted_app

pytestmark = pytest.mark.anyio

DASHBOARD = json.loads((ROOT / "dashboards" / "antiphon.json").read_text(encoding="utf-8"))
SCRAPED = {"instance", "job"}
"""Labels that Prometheus adds to what it reads."""
LEGEND = re.compile(r"{{(\w+)}}")

Labels = set[str]
Series = dict[str, Labels]


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def queries() -> Iterator[tuple[str, str]]:
    """Give each query with the text that shows its labels."""
    for panel in panels():
        for target in panel["targets"]:
            yield target["expr"], target["legendFormat"]
    for annotation in DASHBOARD["annotations"]["list"]:
        if "expr" in annotation:
            yield annotation["expr"], annotation["titleFormat"]


def parsed(expression: str) -> promql.Expr:
    return promql.parse(expression.replace("$__rate_interval", "5m"))


async def page(engine: ScriptedEngine) -> Series:
    """Ask a server for two answers and an error, and read its metrics."""
    transport = httpx2.ASGITransport(with_signals(scripted_app(engine)))
    async with httpx2.AsyncClient(transport=transport, base_url="http://there") as http:
        for model in (MODEL, MODEL, "not/served"):
            body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
            await http.post("/v1/chat/completions", json=body)
        text = (await http.get("/metrics")).text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {sample.name: {*sample.labels} | SCRAPED for sample in samples}


def labels_of(node: object, series: Series) -> Labels:
    """Say what labels a query's result has; fail where it names a series or a label that there is not."""
    if isinstance(node, promql.VectorSelector):
        assert node.name in series, f"{node.name} is not on the page"
        used = {matcher.name for matcher in node.matchers.matchers}
        assert used <= series[node.name], f"{node.name} has no {used - series[node.name]}"
        return series[node.name]
    if isinstance(node, promql.MatrixSelector):
        return labels_of(node.vector_selector, series)
    if isinstance(node, promql.AggregateExpr):
        kept = set(node.modifier.labels) if node.modifier else set()
        inside = labels_of(node.expr, series)
        assert kept <= inside, f"{node}: there is no {kept - inside}"
        return kept
    if isinstance(node, promql.Call):
        found = set[str]().union(*(labels_of(argument, series) for argument in node.args))
        assert node.func.name != "histogram_quantile" or "le" in found, f"{node}: le was summed away"
        return found - {"le"} if node.func.name == "histogram_quantile" else found
    if isinstance(node, promql.BinaryExpr):
        return labels_of_both(node, series)
    assert isinstance(node, promql.NumberLiteral), f"{node}: nothing is known of its labels"
    return set()


def labels_of_both(node: promql.BinaryExpr, series: Series) -> Labels:
    left, right = labels_of(node.lhs, series), labels_of(node.rhs, series)
    if node.modifier and node.modifier.matching:
        on, added = set(node.modifier.matching.labels), set(node.modifier.group_labels or ())
        assert on <= left & right, f"{node}: {on} is not on both sides"
        assert added <= right, f"{node}: {added} is not on the right"
        return left | added
    assert left == right or isinstance(node.rhs, promql.NumberLiteral), f"{node}: {left} == {right}"
    return left


async def test_every_query_uses_existing_series_and_labels() -> None:
    series = await page(ScriptedEngine())
    for expression, legend in queries():
        found = labels_of(parsed(expression), series)
        assert set(LEGEND.findall(legend)) <= found, f"{legend}: {expression} gives {found}"


async def test_query_for_the_models_uses_an_existing_series() -> None:
    (models,) = [each for each in DASHBOARD["templating"]["list"] if each["name"] == "model"]
    match = re.fullmatch(r"label_values\((\S+), (\S+)\)", models["query"]["query"])
    assert match is not None
    assert match[2] in (await page(ScriptedEngine()))[match[1]]


@pytest.mark.parametrize(
    "expression", ["antiphon:nothing", 'antiphon:build_info{project="p"}', "sum by (x) (process_open_fds)"]
)
async def test_unknown_series_or_label_is_found(expression: str) -> None:
    series = await page(ScriptedEngine())
    with pytest.raises(AssertionError):
        labels_of(parsed(expression), series)


def test_data_source_is_a_variable() -> None:
    sources = {panel["datasource"]["uid"] for panel in panels()}
    sources |= {target["datasource"]["uid"] for panel in panels() for target in panel["targets"]}
    assert {"${datasource}"} == sources


def test_dashboard_has_a_row_for_each_topic() -> None:
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert ["Traffic", "Latency", "Engine", "Cache", "Speculation", "Errors"] == rows


def test_panels_have_unique_ids_and_do_not_overlap() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    cells = [
        (x, y)
        for box in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for x in range(box["x"], box["x"] + box["w"])
        for y in range(box["y"], box["y"] + box["h"])
    ]
    assert len(cells) == len(set(cells))
    assert 24 == 1 + max(x for x, _ in cells)


UNITS = {"short", "s", "bytes", "percentunit", "ops", "reqps"}
"""Of Grafana's list of units, those that are in use."""
GLOBALS = {"__rate_interval"}
"""Variables that Grafana itself sets."""


def test_every_panel_has_a_unit() -> None:
    shown = [panel for panel in panels() if panel["type"] != "heatmap"]
    assert set() == {panel["fieldConfig"]["defaults"].get("unit") for panel in shown} - UNITS


def test_every_variable_is_defined_and_used() -> None:
    used = set(re.findall(r"\$\{?(\w+)", json.dumps([DASHBOARD["panels"], DASHBOARD["annotations"]])))
    assert used == {each["name"] for each in DASHBOARD["templating"]["list"]} | GLOBALS


def test_variable_of_the_data_source_lists_prometheus() -> None:
    (source,) = [each for each in DASHBOARD["templating"]["list"] if each["type"] == "datasource"]
    assert ("datasource", "prometheus") == (source["name"], source["query"])
    assert {"prometheus"} == {target["datasource"]["type"] for panel in panels() for target in panel["targets"]}


def test_queries_of_a_panel_have_different_ids() -> None:
    for panel in panels():
        names = [target["refId"] for target in panel["targets"]]
        assert len(set(names)) == len(names)
        assert names
