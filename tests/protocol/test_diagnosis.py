"""The walk agrees with msgspec: it finds an error in exactly the values that msgspec refuses."""

import json
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta, Struct, inspect

from antiphon.errors import APIError
from antiphon.protocol import diagnosis
from antiphon.protocol.diagnosis import diagnose
from antiphon.protocol.requests import CreateChatCompletion
from tests.protocol.bodies import CALLER, RESULT, USER


class Leaf(Struct, forbid_unknown_fields=True, tag_field="type", tag="leaf"):
    value: Annotated[float, Meta(gt=0, lt=1)]


class Twig(Struct, forbid_unknown_fields=True, tag_field="type", tag="twig"):
    leaves: Annotated[list[Leaf], Meta(min_length=1, max_length=2)]


class Tree(Struct, forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=1, max_length=3, pattern="^[a-z]*$")]
    grown: bool
    parts: list[Leaf | Twig] | str | None = None
    kind: Literal["oak", "elm"] | Leaf = "oak"
    labels: Annotated[dict[Annotated[str, Meta(max_length=2)], int], Meta(max_length=1)] = {}
    numbers: dict[Annotated[str, Meta(pattern="^[0-9]+$")], int] = {}
    free: Any = None
    nothing: None = None


GOOD = {"name": "abc", "grown": True}


@pytest.mark.parametrize(
    ("value", "param", "code", "message"),
    [
        ([], None, "invalid_type", "Invalid type for the request body: expected an object, but got an array instead."),
        (
            {},
            "name",
            "missing_required_parameter",
            "Missing required parameter: 'name'. Missing required parameter: 'grown'.",
        ),
        ({"name": "abc"}, "grown", "missing_required_parameter", "Missing required parameter: 'grown'."),
        (GOOD | {"root": 1}, "root", "unknown_parameter", "Unknown parameter: 'root'."),
        (
            GOOD | {"grown": 1},
            "grown",
            "invalid_type",
            "Invalid type for 'grown': expected a boolean, but got an integer instead.",
        ),
        (
            GOOD | {"name": ""},
            "name",
            "empty_string",
            "Invalid 'name': empty string. Expected a string with minimum length 1, but got an empty string instead.",
        ),
        (
            GOOD | {"name": "abcd"},
            "name",
            "string_above_max_length",
            (
                "Invalid 'name': string too long. Expected a string with maximum length 3, "
                "but got a string with length 4 instead."
            ),
        ),
        (
            GOOD | {"name": "AB"},
            "name",
            "invalid_value",
            "Invalid 'name': string does not match pattern. Expected a string that matches the pattern '^[a-z]*$'.",
        ),
        (
            GOOD | {"parts": 1.5},
            "parts",
            "invalid_type",
            (
                "Invalid type for 'parts': expected one of an array of objects or string, "
                "but got a decimal number instead."
            ),
        ),
        (
            GOOD | {"parts": [{}]},
            "parts[0].type",
            "missing_required_parameter",
            "Missing required parameter: 'parts[0].type'.",
        ),
        (
            GOOD | {"parts": [{"type": None}]},
            "parts[0].type",
            "invalid_type",
            "Invalid type for 'parts[0].type': expected a string, but got null instead.",
        ),
        (
            GOOD | {"parts": [{"type": "bud"}]},
            "parts[0].type",
            "invalid_value",
            "Invalid value: 'bud'. Supported values are: 'leaf' and 'twig'.",
        ),
        (
            GOOD | {"parts": [{"type": "twig", "leaves": [{"type": "twig"}]}]},
            "parts[0].leaves[0].type",
            "invalid_value",
            "Invalid value: 'twig'. Value must be 'leaf'.",
        ),
        (
            GOOD | {"parts": [{"type": "twig", "leaves": []}]},
            "parts[0].leaves",
            "empty_array",
            (
                "Invalid 'parts[0].leaves': empty array. Expected an array with minimum length 1, "
                "but got an empty array instead."
            ),
        ),
        (
            GOOD | {"parts": [{"type": "twig", "leaves": [1, 2, 3]}]},
            "parts[0].leaves",
            "array_above_max_length",
            (
                "Invalid 'parts[0].leaves': array too long. Expected an array with maximum length 2, "
                "but got an array with length 3 instead."
            ),
        ),
        (
            GOOD | {"parts": [{"type": "leaf", "value": 1}]},
            "parts[0].value",
            "decimal_above_max_value",
            "Invalid 'parts[0].value': decimal above maximum value. Expected a value < 1, but got 1 instead.",
        ),
        (
            GOOD | {"parts": [{"type": "leaf", "value": -0.5}]},
            "parts[0].value",
            "decimal_below_min_value",
            "Invalid 'parts[0].value': decimal below minimum value. Expected a value > 0, but got -0.5 instead.",
        ),
        (
            GOOD | {"kind": "fir"},
            "kind",
            "invalid_value",
            "Invalid value: 'fir'. Supported values are: 'elm' and 'oak'.",
        ),
        (
            GOOD | {"labels": {"abc": 1}},
            "labels",
            "string_above_max_length",
            "Invalid key in 'labels': 'abc'. Expected at most 2 characters.",
        ),
        (
            GOOD | {"numbers": {"x": 1}},
            "numbers",
            "invalid_value",
            "Invalid key in 'numbers': 'x'. Expected a string that matches the pattern '^[0-9]+$'.",
        ),
        (
            GOOD | {"labels": {"a": "b"}},
            "labels.a",
            "invalid_type",
            "Invalid type for 'labels.a': expected an integer, but got a string instead.",
        ),
        (
            GOOD | {"labels": {"a": 1, "b": 2}},
            "labels",
            "object_above_max_properties",
            (
                "Invalid 'labels': too many properties. Expected an object with at most 1 properties, "
                "but got an object with 2 properties instead."
            ),
        ),
    ],
)
def test_first_error_has_its_param_code_and_message(value: object, param: str | None, code: str, message: str) -> None:
    error: APIError | None = diagnose(Tree, value)
    assert error is not None
    assert (param, code, message) == (error.param, error.code, error.message)


def test_valid_value_has_no_error() -> None:
    twig = {"type": "twig", "leaves": [{"type": "leaf", "value": 0.5}]}
    assert diagnose(Tree, GOOD | {"parts": [twig], "kind": "elm", "labels": {"a": 1}, "free": [None]}) is None


def test_first_error_in_document_order_is_reported() -> None:
    error = diagnose(Tree, {"root": 1, "grown": 2})
    assert error is not None
    assert "root" == error.param


def test_all_errors_are_named_in_document_order() -> None:
    error = diagnose(Tree, GOOD | {"labels": {"abc": "x"}, "kind": 1, "root": 2})
    assert error is not None
    named = ("'labels': 'abc'", "'labels.abc'", "'kind'", "'root'")
    assert sorted(map(error.message.index, named)) == list(map(error.message.index, named))


def test_every_type_in_a_request_is_supported() -> None:
    known = {*diagnosis._ADMITTED, inspect.AnyType, inspect.UnionType}
    assert known >= {type(node) for node in nodes(inspect.type_info(CreateChatCompletion))}


def nodes(node: inspect.Type) -> list[inspect.Type]:
    match node:
        case inspect.UnionType(types=inner):
            members = list(inner)
        case inspect.StructType(fields=fields):
            members = [field.type for field in fields]
        case inspect.ListType(item_type=item):
            members = [item]
        case inspect.DictType(key_type=key, value_type=value):
            members = [key, value]
        case _:
            members = []
    return [node, *(inner for member in members for inner in nodes(member))]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
TREE_VALUES = JSON | st.sampled_from(["leaf", "twig", "oak", 0.5, {"type": "leaf", "value": 0.5}, {"type": "twig"}])
TREES = st.dictionaries(st.sampled_from(["name", "grown", "parts", "kind", "labels", "numbers", "x"]), TREE_VALUES)


@settings(max_examples=150, deadline=None)
@given(TREES | TREES.map(lambda tree: GOOD | tree) | JSON)
def test_values_that_msgspec_refuses_have_an_error(value: object) -> None:
    agrees_with_msgspec(Tree, value)


FIELDS = st.sampled_from(CreateChatCompletion.__struct_fields__)
WORDS = st.sampled_from(["text", "auto", "none", "low", "x", 1, 0.5, True, [], {}, USER, CALLER, RESULT, [USER]])


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(FIELDS, WORDS | JSON, max_size=4))
def test_requests_that_msgspec_refuses_have_an_error(fields: dict[str, object]) -> None:
    agrees_with_msgspec(CreateChatCompletion, {"model": "tiny", "messages": [USER]} | fields)


def agrees_with_msgspec(model: type, value: object) -> None:
    parsed = json.loads(json.dumps(value))
    try:
        msgspec.convert(parsed, model)
    except msgspec.ValidationError:
        assert diagnose(model, parsed) is not None
    else:
        assert diagnose(model, parsed) is None
