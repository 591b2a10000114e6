"""The dialect, the subschemas and the references of a document."""

from typing import Any

import pytest

from antiphon.constraints.json_schema.document import MAX_SMALL_SIZE, REFERENCE_COST, Document
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
def test_draft_is_read_from_the_schema(dialect: str, draft: int) -> None:
    assert draft == Document({"$schema": dialect}).draft
    assert 2020 == Document(True).draft  # noqa: FBT003 (a schema)


def test_trivial_subschemas_are_any_or_never() -> None:
    document = Document(
        {"properties": {"a": True, "b": {}, "c": False, "d": {"not": {}}, "e": {"type": "null"}, "f": {"not": True}}}
    )
    assert [ANY, ANY, NEVER, NEVER, Location(("properties", "e")), NEVER] == [
        document.term(("properties", name)) for name in "abcdef"
    ]


def test_equal_subschemas_share_a_term() -> None:
    document = Document({"properties": {"a": {"type": "null"}, "b": {"type": "null"}}})
    assert document.term(("properties", "a")) == document.term(("properties", "b"))


@pytest.mark.parametrize("keyword", ["properties", "const"])
def test_subschemas_with_keys_in_another_order_are_not_equal(keyword: str) -> None:
    orders: list[dict[str, Any]] = [{"a": True, "b": True}, {"b": True, "a": True}]
    document = Document({"prefixItems": [{keyword: order} for order in orders]})
    assert document.term(("prefixItems", 0)) != document.term(("prefixItems", 1))


@pytest.mark.parametrize(
    ("small", "schema"),
    [
        (True, {"enum": [1, 2]}),
        (True, {"enum": list(range(MAX_SMALL_SIZE))}),
        (True, {"properties": {"a": True}}),
        (True, {f"x-{number}": 0 for number in range(MAX_SMALL_SIZE)}),
        (False, {"enum": [[1], 2]}),
        (False, {"properties": {"a": {"type": "null"}}, "minimum": 1}),
        (False, {"enum": list(range(MAX_SMALL_SIZE + 1))}),
        (False, {f"x-{number}": 0 for number in range(MAX_SMALL_SIZE + 1)}),
    ],
)
def test_only_small_subschemas_share_a_term(small: bool, schema: dict[str, Any]) -> None:  # noqa: FBT001
    document = Document({"properties": {"a": schema, "b": dict(schema)}})
    assert small == (document.term(("properties", "a")) == document.term(("properties", "b")))


def test_equal_subschemas_of_two_resources_differ() -> None:
    inner = {"$id": "https://example.org/inner", "not": {"$ref": "#/x", "minimum": 1}}
    document = Document({"not": {"$ref": "#/x", "minimum": 1}, "contains": inner})
    assert document.term(("not",)) != document.term(("contains", "not"))


ELSEWHERE: dict[str, Any] = {"$defs": {"x": {"type": "null"}}}
DRAFT_4, DRAFT_7 = (f"http://json-schema.org/draft-0{number}/schema#" for number in (4, 7))


@pytest.mark.parametrize(
    "beside", [{}, {"title": "x"}, {"$defs": {}}, {"definitions": {}}, {"$schema": "https://example.org/dialect"}]
)
def test_reference_without_siblings_has_the_term_of_its_target(beside: dict[str, Any]) -> None:
    document = Document({**ELSEWHERE, "not": {"$ref": "#/$defs/x", **beside}})
    assert Location(("$defs", "x")) == document.term(("not",))


@pytest.mark.parametrize("beside", [{"minimum": 1}, {"const": 1}, {"$id": "https://example.org/other"}])
def test_reference_with_siblings_has_its_own_term(beside: dict[str, Any]) -> None:
    document = Document({**ELSEWHERE, "not": {"$ref": "#/$defs/x", **beside}})
    assert Location(("not",)) == document.term(("not",))


def test_keywords_beside_a_reference_are_void_until_draft_7() -> None:
    document = Document({**ELSEWHERE, "$schema": DRAFT_7, "not": {"$ref": "#/$defs/x", "minimum": 1}})
    assert Location(("$defs", "x")) == document.term(("not",))


def test_circular_references_have_their_own_terms() -> None:
    document = Document({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}})
    assert isinstance(document.term(("$defs", "a")), Location)


def test_dangling_reference_is_a_term_until_it_is_resolved() -> None:
    assert Location(("not",)) == Document({"not": {"$ref": "#/nowhere"}}).term(("not",))


def test_document_tracks_evaluation_if_a_subschema_needs_it() -> None:
    rest: dict[str, Any] = {"unevaluatedProperties": False}
    schemas: list[dict[str, Any]] = [{"not": {}}, rest, {"allOf": [{}, {"not": rest}, {"not": {}}]}]
    assert [False, True, True] == [Document(schema).tracks_evaluation for schema in schemas]


@pytest.mark.parametrize(
    ("draft", "schema", "reference"),
    [
        (DRAFT_4, {"id": "https://example.org/x"}, "https://example.org/x"),
        (DRAFT_7, {"$id": "https://example.org/x"}, "https://example.org/x"),
        (DRAFT_7, {"$id": "#x"}, "#x"),
    ],
)
def test_identifiers_follow_the_draft(draft: str, schema: dict[str, Any], reference: str) -> None:
    document = Document({"$schema": draft, "definitions": {"a": {**schema, "type": "null"}}})
    assert Location(("definitions", "a")) == document.resolve(reference, ())


def test_identifier_beside_a_reference_counts_since_2019() -> None:
    document = Document({"$defs": {"a": {"$id": "https://example.org/x", "$ref": "#/$defs/b"}, "b": {"type": "null"}}})
    assert Location(("$defs", "a")) == document.resolve("https://example.org/x", ())


@pytest.mark.parametrize(
    ("draft", "schema"),
    [
        (DRAFT_7, {"id": "https://example.org/x"}),
        (DRAFT_4, {"$id": "https://example.org/x"}),
        (DRAFT_7, {"$id": "https://example.org/x", "$ref": "#/definitions/b"}),
    ],
)
def test_identifiers_of_other_drafts_are_ignored(draft: str, schema: dict[str, Any]) -> None:
    document = Document({"$schema": draft, "definitions": {"a": schema, "b": {"type": "null"}}})
    with pytest.raises(SchemaRefusedError, match="another document"):
        document.resolve("https://example.org/x", ())


LISTS: dict[str, Any] = {"x": {"names": ["a"], "0": {"type": "null"}, "n": 5, "list": [{"type": "null"}] * 4}}


def test_object_key_of_digits_is_no_list_index() -> None:
    assert Location(("x", "0")) == Document(LISTS).resolve("#/x/0", ())


@pytest.mark.parametrize(
    "reference", ["names/a", "n/5", "n/a", "list/4", "list/-1", "list/a", "list/\u0663", "list/\u00b3", "0/type/n"]
)
def test_pointer_to_a_missing_place_is_refused(reference: str) -> None:
    with pytest.raises(SchemaRefusedError, match="does not exist"):
        Document(LISTS).resolve(f"#/x/{reference}", ())


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
def test_references_resolve_from_the_root(reference: str, path: tuple[str | int, ...]) -> None:
    assert Location(path) == Document(NESTED).resolve(reference, ())


def test_references_are_relative_to_their_resource() -> None:
    document = Document(NESTED)
    assert Location(("$defs", "inner", "$defs", "x")) == document.resolve("#/$defs/x", ("$defs", "inner", "items"))
    assert Location(()) == document.resolve("root", ("$defs", "inner", "items"))


def test_subschema_under_an_unknown_keyword_is_checked_when_referenced() -> None:
    document = Document({"components": {"a": {"type": "strin"}}})
    with pytest.raises(SchemaRefusedError, match="'type' must be"):
        document.resolve("#/components/a", ())


@pytest.mark.parametrize("reference", ["#/$defs/none", "#none", "#/", "#/$defs/a~1b~0c/type"])
def test_dangling_reference_is_refused(reference: str) -> None:
    with pytest.raises(SchemaRefusedError, match="does not exist"):
        Document(NESTED).resolve(reference, ())


@pytest.mark.parametrize(
    "reference", ["other.json", "https://example.org/other#/a", "http://json-schema.org/draft-07/schema#"]
)
def test_reference_to_another_document_is_refused(reference: str) -> None:
    with pytest.raises(SchemaRefusedError, match="another document"):
        Document(NESTED).resolve(reference, ())


def test_subschemas_outside_of_keywords_cost_budget() -> None:
    nested: dict[str, Any] = {}
    for _ in range(50):
        nested = {"properties": {"a": nested}}
    document = Document({"elsewhere": {"b": nested}})
    for depth in range(49, -1, -1):
        before = document.budget.left
        document.resolve("#/elsewhere/b" + "/properties/a" * depth, ())
        assert REFERENCE_COST * (51 - depth) == before - document.budget.left
    document.resolve("#/elsewhere/b", ())
    assert REFERENCE_COST * 51 == before - document.budget.left
