"""The operations of the OpenAPI document; test_schemathesis tests the server against it."""

import json
from typing import Any

import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.routing import Route

from antiphon.protocol.requests import decode_request
from antiphon.protocol.responses import ChatCompletion
from antiphon.routing.router import Router
from antiphon.server.openapi import build_document
from antiphon.server.openapi_parts import ERRORS
from antiphon.server.routes import Handlers
from antiphon.service import Service

DOCUMENT = build_document("1.2.3")
CREATE: dict[str, Any] = DOCUMENT["paths"]["/v1/chat/completions"]["post"]
EXAMPLES: dict[str, Any] = CREATE["requestBody"]["content"]["application/json"]["examples"]


def test_the_document_is_valid_openapi() -> None:
    assert [] == list(OpenAPIV31SpecValidator(DOCUMENT).iter_errors())


def test_the_document_is_json_and_names_its_version() -> None:
    assert "1.2.3" == json.loads(msgspec.json.encode(DOCUMENT))["info"]["version"]


def test_every_route_is_documented_but_the_documents() -> None:
    routes = {
        route.path.replace(":path", "")
        for route in Handlers(Service(Router({})), stream_headers_after=5.0).routes()
        if type(route) is Route
    }
    assert {"/openapi.json", "/docs"} == routes - set(DOCUMENT["paths"])
    assert set() == set(DOCUMENT["paths"]) - routes


def test_an_answer_is_json_or_a_stream_of_events() -> None:
    assert {"application/json", "text/event-stream"} == set(CREATE["responses"]["200"]["content"])


def test_every_error_is_an_error_object() -> None:
    schemas = [each["content"]["application/json"]["schema"] for each in DOCUMENT["components"]["responses"].values()]
    assert [{"$ref": "#/components/schemas/ErrorResponse"}] * len(ERRORS) == schemas


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)
def test_the_examples_are_requests(example: dict[str, Any]) -> None:
    assert "smollm2-135m-instruct" == decode_request(msgspec.json.encode(example["value"])).model


def test_the_example_of_an_answer_is_one() -> None:
    example = CREATE["responses"]["200"]["content"]["application/json"]["example"]
    assert example == msgspec.to_builtins(msgspec.convert(example, ChatCompletion))
