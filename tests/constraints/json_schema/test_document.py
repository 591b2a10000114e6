"""Dialects and references."""

from typing import Any

import pytest

from antiphon.constraints.json_schema.document import REFERENCED, Document
from antiphon.constraints.json_schema.schema_errors import SchemaRefusedError
from antiphon.constraints.json_schema.terms import ANY, NEVER, Location


@pytest.mark.parametrize(
    ("dialect", "draft"),
    [
        ("http://json-schema.org/draft-04/schema#", 4),
        ("http://json-schema.org/draft-07/schema", 7),
        ("https://json-schema.org/draft/2019-09/schema", 2019),
        ("https://json-schema.org/draft/2020-12/schema", 2020),
        ("https://example.org/my-dialect", 2020),
    ],
)
def test_the_draft_is_that_of_the_schema(dialect: str, draft: int) -> None:
    assert draft == Document({"$schema": dialect}).draft
    assert 2020 == Document(True).draft  # noqa: FBT003 (a schema)


def test_trivial_subschemas_have_their_own_terms() -> None:
    document = Document({"properties": {"a": True, "b": {}, "c": False, "d": {"not": {}}, "e": {"type": "null"}}})
    assert [ANY, ANY, NEVER, NEVER, Location(("properties", "e"))] == [
        document.term(("properties", name)) for name in "abcde"
    ]


def test_equal_subschemas_share_a_term() -> None:
    document = Document({"properties": {"a": {"type": "null"}, "b": {"type": "null"}}})
    assert document.term(("properties", "a")) == document.term(("properties", "b"))


NESTED: dict[str, Any] = {
    "$id": "https://example.org/root",
    "$defs": {
        "a/b~c": {"type": "null"},
        "é": {"type": "null", "title": "é"},
        "inner": {
            "$id": "inner",
            "$anchor": "top",
            "$defs": {"x": {"type": "boolean"}, "y": {"$anchor": "why", "type": "string"}},
            "items": {"$ref": "#/$defs/x"},
        },
    },
    "x-models": {"list": [{"type": "integer"}, {"$anchor": "late", "type": "number"}]},
}


@pytest.mark.parametrize(
    ("reference", "path"),
    [
        ("#", ()),
        ("#/$defs/a~1b~0c", ("$defs", "a/b~c")),
        ("#/%24defs/%C3%A9", ("$defs", "é")),
        ("https://example.org/root#/$defs/inner", ("$defs", "inner")),
        ("inner", ("$defs", "inner")),
        ("inner#top", ("$defs", "inner")),
        ("inner#/$defs/x", ("$defs", "inner", "$defs", "x")),
        ("https://example.org/inner#why", ("$defs", "inner", "$defs", "y")),
        ("#/x-models/list/0", ("x-models", "list", 0)),
    ],
)
def test_references_from_the_root(reference: str, path: tuple[str | int, ...]) -> None:
    assert Location(path) == Document(NESTED).resolve(reference, ())


def test_references_are_relative_to_the_resource_that_they_stand_in() -> None:
    document = Document(NESTED)
    assert Location(("$defs", "inner", "$defs", "x")) == document.resolve("#/$defs/x", ("$defs", "inner", "items"))
    assert Location(()) == document.resolve("root", ("$defs", "inner", "items"))


def test_a_subschema_under_an_unknown_keyword_is_checked_when_it_is_referred_to() -> None:
    document = Document({"components": {"a": {"type": "strin"}}})
    with pytest.raises(SchemaRefusedError, match="'type' must be"):
        document.resolve("#/components/a", ())


@pytest.mark.parametrize("reference", ["#/$defs/none", "#none", "#/", "#/$defs/a~1b~0c/type"])
def test_dangling_references(reference: str) -> None:
    with pytest.raises(SchemaRefusedError, match="does not exist"):
        Document(NESTED).resolve(reference, ())


@pytest.mark.parametrize(
    "reference", ["other.json", "https://example.org/other#/a", "http://json-schema.org/draft-07/schema#"]
)
def test_nothing_is_fetched(reference: str) -> None:
    with pytest.raises(SchemaRefusedError, match="another document"):
        Document(NESTED).resolve(reference, ())


def test_what_only_references_make_a_schema_is_paid_for() -> None:
    nested: dict[str, Any] = {}
    for _ in range(50):
        nested = {"properties": {"a": nested}}
    document = Document({"elsewhere": {"b": nested}})
    for depth in range(49, -1, -1):
        before = document.budget.left
        document.resolve("#/elsewhere/b" + "/properties/a" * depth, ())
        assert REFERENCED * (51 - depth) == before - document.budget.left
    document.resolve("#/elsewhere/b", ())
    assert REFERENCED * 51 == before - document.budget.left
