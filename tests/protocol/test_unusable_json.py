import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.protocol.unusable_json import unusable


@pytest.mark.parametrize(
    ("value", "param"),
    [
        ({"a": "\ud800"}, "a"),
        ({"a": ["x", "\udfff"]}, "a[1]"),
        ({"a": {"\udfff": 1}}, "a"),
        ([[{"b": "x\udbffx"}]], "[0][0].b"),
        ({"a": [1.5, float("inf")]}, "a[1]"),
        ({"a": -(10**400)}, "a"),
    ],
)
def test_unusable_text_or_number_is_found_with_its_path(value: object, param: str) -> None:
    error = unusable(value)
    assert error is not None
    assert param == error.param


def test_unusable_body_or_key_of_the_body_has_no_param() -> None:
    for value in ("\ud800", {"\ud800": 1}):
        error = unusable(value)
        assert error is not None
        assert error.param is None
        assert "the request body" in error.message


def test_error_of_a_key_tells_where_its_surrogate_is() -> None:
    error = unusable({"a": {"b\ud800": 1}})
    assert error is not None
    assert error.message.startswith("Invalid key in 'a': 'b?': character 1 is the lone surrogate '\\ud800'")


def test_first_unusable_value_in_the_order_of_the_document_is_found() -> None:
    error = unusable({"a": {"b": 1}, "c": ["\ud800"], "d": "\ud800"})
    assert error is not None
    assert "c[0]" == error.param


def test_path_in_an_error_is_bounded() -> None:
    value: object = "\ud800"
    for _ in range(200):
        value = {"k" * 100: value}
    error = unusable(value)
    assert error is not None
    assert 256 == len(error.param or "")


USABLE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(USABLE)
def test_values_that_json_text_can_hold_are_usable(value: object) -> None:
    assert unusable(value) is None
