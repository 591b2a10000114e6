import json
from typing import Any

import pytest

from antiphon.chat_formats.builtin import named_format
from antiphon.errors import InvalidRequestError
from antiphon.protocol.requests import decode_request
from antiphon.rendering.content_constraint import ContentConstraint, content_constraint
from antiphon.rendering.renderer import Renderer
from antiphon.templates.chat_template import CHATML, ChatTemplate
from tests.rendering.grammar_walk import Walker

WALKER = Walker(["<|im_end|>"])
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
LARK = 'start: "a" b\nb: "b"+'
GBNF = 'root ::= "a" "b"+'
FIND = {"type": "function", "function": {"name": "find", "parameters": {"type": "object", "properties": {}}}}


def admits(text: str, **fields: Any) -> bool:  # noqa: ANN401 (JSON)
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}
    family = named_format("hermes", "<think>")
    renderer = Renderer(WALKER.vocabulary, ChatTemplate(CHATML, "", ""), family, 4096)
    return WALKER.admits(renderer.render(decode_request(json.dumps(body).encode()), "r", "").generate.grammar, text)


def refusal(**fields: Any) -> InvalidRequestError:  # noqa: ANN401 (JSON)
    with pytest.raises(InvalidRequestError) as caught:
        admits("", **fields)
    return caught.value


@pytest.mark.parametrize(
    ("value", "admitted", "refused"),
    [
        ({"json": CITY}, '{"city": "Rome"}', "{}"),
        ({"json": json.dumps(CITY)}, '{"city": "Rome"}', "{}"),
        ({"json_object": True}, "{}", "[]"),
        ({"regex": "[0-9]{3}"}, "123", "12"),
        ({"regex": "^a|b$"}, "b", "ab"),
        ({"choice": ["yes", "yes please", "<|im_end|>"]}, "yes please", "yes p"),
        ({"grammar": LARK}, "abb", "b"),
        ({"grammar": GBNF}, "abb", "b"),
    ],
)
def test_structured_outputs_constrain_the_content(value: Any, admitted: str, refused: str) -> None:  # noqa: ANN401
    assert [True, False] == [admits(text, structured_outputs=value) for text in (admitted, refused)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("guided_json", CITY),
        ("guided_regex", r"\{\"city\": \"[A-Z][a-z]+\"\}"),
        ("guided_choice", ['{"city": "Rome"}']),
        ("guided_grammar", 'root ::= "{\\"city\\": \\"Rome\\"}"'),
        ("grammar", 'root ::= "{\\"city\\": \\"" [A-Z] [a-z]+ "\\"}"'),
        ("response_format", {"type": "json_object", "schema": CITY}),
    ],
)
def test_older_and_other_fields_constrain_the_content(name: str, value: object) -> None:
    assert [True, False] == [admits(text, **{name: value}) for text in ('{"city": "Rome"}', "{}")]


def test_content_follows_its_form_after_reasoning_and_beside_calls() -> None:
    assert admits("<think>Hm.</think>\nab", grammar=GBNF)
    fields = {"grammar": GBNF, "tools": [FIND]}
    assert admits("ab", **fields)
    assert admits('<tool_call>\n{"name": "find", "arguments": {}}\n</tool_call>', **fields)
    assert not admits("b", **fields)


@pytest.mark.parametrize(
    ("expected", "fields"),
    [
        ("structured_outputs.json", {"structured_outputs": {"json": "{"}}),
        ("structured_outputs.json", {"structured_outputs": {"json": "[]"}}),
        ("structured_outputs.json", {"structured_outputs": {"json": {"type": "void"}}}),
        ("structured_outputs.regex", {"structured_outputs": {"regex": "("}}),
        ("structured_outputs.regex", {"structured_outputs": {"regex": ""}}),
        ("structured_outputs.grammar", {"structured_outputs": {"grammar": "root ::= <think>"}}),
        ("structured_outputs.grammar", {"structured_outputs": {"grammar": "start: <think>"}}),
        ("guided_json", {"guided_json": {"type": "void"}}),
        ("guided_regex", {"guided_regex": "a{10001}"}),
        ("guided_grammar", {"guided_grammar": "start: X"}),
        ("grammar", {"grammar": ""}),
        ("grammar", {"grammar": "root ::= root"}),
        ("grammar", {"grammar": "root ::= " + '"a" ' * 10_000}),
        ("grammar", {"grammar": 'root ::= ("a"{1000}){1000}'}),
        ("grammar", {"grammar": "root ::= [z-a]"}),
        ("response_format.schema", {"response_format": {"type": "json_object", "schema": {"type": "void"}}}),
    ],
)
def test_form_that_cannot_be_enforced_is_refused_by_its_field(expected: str, fields: dict[str, Any]) -> None:
    assert expected == refusal(**fields).param


def test_request_without_an_extension_has_no_form() -> None:
    request = decode_request(b'{"model": "m", "messages": [{"role": "user", "content": "Hi"}]}')
    assert ContentConstraint() == content_constraint(request)
