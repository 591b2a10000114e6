from antiphon.protocol.responses import Model
from antiphon.server.openapi_parts import (
    ERRORS,
    RETRYABLE,
    error_responses,
    errors,
    header_references,
    headers,
    json_response,
)


def test_an_answer_is_json_with_the_headers_of_every_answer() -> None:
    answer = json_response("A model.", Model)
    assert {"application/json": {"schema": {"$ref": "#/components/schemas/Model"}}} == answer["content"]
    assert set(header_references()) == set(answer["headers"])


def test_errors_refer_to_answers_that_are_described() -> None:
    described = {f"#/components/responses/{name}" for name in error_responses()}
    assert described == {each["$ref"] for each in errors(*ERRORS).values()}


def test_retryable_errors_have_retry_after() -> None:
    repeatable = {ERRORS[status][0] for status in RETRYABLE}
    assert repeatable == {name for name, answer in error_responses().items() if "retry-after" in answer["headers"]}


def test_every_header_that_is_referred_to_is_described() -> None:
    assert set(header_references("retry-after", "retry-after-ms")) <= set(headers())
