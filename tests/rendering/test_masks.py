"""Masks of JSON values."""

from antiphon.rendering.masks import masked


def test_mask_is_applied_to_keys_and_strings_of_json() -> None:
    assert {"A": ["B", 1, None, {"C": True}]} == masked({"a": ["b", 1, None, {"c": True}]}, str.upper)
