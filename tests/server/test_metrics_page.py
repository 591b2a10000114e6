"""The metrics of a server that has answered."""

import httpx2
import pytest

from antiphon.telemetry.metrics import OPENMETRICS
from tests.server.conftest import MODEL, Server


def ask(http: httpx2.Client, model: str = MODEL) -> int:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
    return http.post("/v1/chat/completions", json=body).status_code


def test_metrics_page_needs_no_key_and_counts_requests(server: Server) -> None:
    assert (200, 404) == (ask(server.http), ask(server.http, "other/model"))
    page = server.http.get("/metrics")
    assert (200, "text/plain; version=0.0.4; charset=utf-8") == (page.status_code, page.headers["content-type"])
    assert 'antiphon:request_success_total{finished_reason="stop",model_name="org/scripted"} 1.0' in page.text
    assert 'antiphon:http_requests_total{handler="/v1/chat/completions",method="POST",status="404"} 1.0' in page.text


def test_openmetrics_is_sent_if_accept_asks_for_it(server: Server) -> None:
    page = server.http.get("/metrics", headers={"accept": f"{OPENMETRICS};version=1.0.0,text/plain;q=0.5"})
    assert (OPENMETRICS, True) == (page.headers["content-type"].partition(";")[0], page.text.endswith("# EOF\n"))


@pytest.mark.parametrize(
    ("path", "pattern"),
    [("/health", "/health"), ("/nowhere/at/all", "other"), ("/v1/models/org%2Fscripted", "/v1/models/{model:path}")],
)
def test_paths_are_counted_by_their_patterns(server: Server, path: str, pattern: str) -> None:
    server.http.get(path)
    page = server.http.get("/metrics").text
    assert f'antiphon:http_requests_total{{handler="{pattern}",method="GET"' in page
    assert "nowhere" not in page
