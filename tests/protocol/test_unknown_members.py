from typing import Any

import msgspec
import pytest

from antiphon.protocol.unknown_members import is_null, remove_unknown


class Leaf(msgspec.Struct, forbid_unknown_fields=True, tag_field="type", tag="leaf"):
    size: int


class Branch(msgspec.Struct, forbid_unknown_fields=True, tag_field="type", tag="branch"):
    inner: list[Leaf] | str | None = None


class Tree(msgspec.Struct, forbid_unknown_fields=True):
    parts: list[Leaf | Branch] | str
    free: dict[str, Any] | None = None


def tree(*parts: object, **fields: object) -> dict[str, object]:
    return {"parts": list(parts), **fields}


def kept(value: dict[str, object]) -> dict[str, object]:
    remove_unknown(Tree, value, is_null)
    return value


@pytest.mark.parametrize(
    ("expected", "value"),
    [
        (tree(), tree(x=None)),
        (tree({"type": "leaf", "size": 1}), tree({"type": "leaf", "size": 1, "x": None})),
        (
            tree({"type": "branch", "inner": [{"type": "leaf"}]}),
            tree({"type": "branch", "inner": [{"type": "leaf", "x": None}]}),
        ),
    ],
)
def test_unknown_null_is_removed_at_any_depth(expected: dict[str, object], value: dict[str, object]) -> None:
    assert expected == kept(value)


@pytest.mark.parametrize(
    "value",
    [
        tree(free={"x": None}),
        tree(free=None),
        tree(x=0),
        tree({"type": "trunk", "x": None}),
        tree({"x": None}),
        tree({"type": None}),
        tree({"type": "leaf", "size": {"x": None}}),
        tree("text", 1, None),
        {"parts": "text"},
        {"parts": {"x": None}},
    ],
)
def test_members_that_are_known_or_of_no_type_stay(value: dict[str, object]) -> None:
    before = msgspec.json.encode(value)
    assert before == msgspec.json.encode(kept(value))


def test_removal_gets_the_object_the_key_and_the_value_of_each_unknown_member() -> None:
    found: list[tuple[str, str, object]] = []

    def removes(path: str, key: str, member: object) -> bool:
        found.append((path, key, member))
        return False

    remove_unknown(Tree, tree({"type": "leaf", "x": 1}, y=[None]), removes)
    assert [("parts[0]", "x", 1), ("", "y", [None])] == found


def test_value_of_another_type_is_left_alone() -> None:
    for value in ([{"x": None}], "x", None):
        remove_unknown(Tree, value, is_null)
