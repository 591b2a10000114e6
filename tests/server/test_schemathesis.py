"""The running server agrees with its OpenAPI document, for valid and invalid data."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
import schemathesis
from schemathesis import engine
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status
from schemathesis.engine.events import EngineEvent, EngineFinished, NonFatalError, ScenarioFinished

from antiphon.server.openapi import EXAMPLE_MODEL
from tests.server.conftest import MODEL, WAIT, Server

CONFIG = {
    "seed": 1,
    "max-failures": 5,
    "request-timeout": WAIT,
    "generation": {"max-examples": 15, "deterministic": True, "database": "none", "no-shrink": True},
    "phases": {"stateful": {"enabled": False}},
    # Rules between fields, and between messages, are beyond JSON Schema: data that fits it may still be a 400. And data
    # that does not fit it may be refused for its size before it is looked at.
    "checks": {
        "positive_data_acceptance": {"expected-statuses": ["200", "400", "404"]},
        "negative_data_rejection": {
            "expected-statuses": ["400", "401", "403", "404", "405", "413", "415", "429", "503"]
        },
    },
}


def served(document: dict[str, Any]) -> dict[str, Any]:
    """Return ``document`` with the one served model as the only one, so that requests reach it."""
    named: dict[str, Any] = json.loads(json.dumps(document).replace(EXAMPLE_MODEL, MODEL))
    named["components"]["schemas"]["CreateChatCompletion"]["properties"]["model"] = {"enum": [MODEL]}
    return named


@pytest.fixture(scope="module")
def events(server: Server, http: httpx2.Client) -> list[EngineEvent]:
    document = served(http.get("/openapi.json").json())
    config = SchemathesisConfig.from_dict(CONFIG | {"base-url": server.url})
    return list(engine.from_schema(schemathesis.openapi.from_dict(document, config=config)).execute())


def scenarios(events: list[EngineEvent]) -> Iterator[ScenarioFinished]:
    return (event for event in events if isinstance(event, ScenarioFinished))


def statuses(events: list[EngineEvent], label: str) -> set[int]:
    interactions = [
        each for s in scenarios(events) if s.recorder.label == label for each in s.recorder.interactions.values()
    ]
    return {each.response.status_code for each in interactions if each.response is not None}


def test_the_server_keeps_to_its_document(events: list[EngineEvent]) -> None:
    failures = [failure for event in events if isinstance(event, EngineFinished) for failure in event.failures]
    failed = [
        f"{node.name}: {node.failure_info.failure}\n{node.failure_info.code_sample}"
        for scenario in scenarios(events)
        if scenario.status is not Status.SUCCESS
        for nodes in scenario.recorder.checks.values()
        for node in nodes
        if node.failure_info is not None
    ]
    assert ([], []) == (failures, failed)


def test_every_operation_was_tested(events: list[EngineEvent]) -> None:
    assert [] == [error.info.message for error in events if isinstance(error, NonFatalError)]
    assert {200, 400} <= statuses(events, "POST /v1/chat/completions")
    assert {200, 404} <= statuses(events, "GET /v1/models/{model}")
    assert {200} <= statuses(events, "GET /health")


def test_no_operation_of_the_document_was_left_out(events: list[EngineEvent], http: httpx2.Client) -> None:
    paths = http.get("/openapi.json").json()["paths"]
    described = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert set() == {label for label in described if not statuses(events, label)}
