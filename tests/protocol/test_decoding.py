import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from antiphon.errors import APIError, InvalidRequestError
from antiphon.protocol import decoding
from antiphon.protocol.decoding import decode


class Box(msgspec.Struct, forbid_unknown_fields=True):
    size: int | None = None
    weight: float | None = None
    label: str | None = None
    free: Any = None


DECODER = msgspec.json.Decoder(Box)


def refusal(body: bytes) -> APIError:
    with pytest.raises(InvalidRequestError) as caught:
        decode(DECODER, body)
    return caught.value


def test_valid_body_is_decoded() -> None:
    assert Box(size=1, label="a\u0000é😀") == decode(DECODER, b'{"size": 1, "label": "a\\u0000\xc3\xa9\\ud83d\\ude00"}')


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "Input data was truncated"),
        (b"   ", "Input data was truncated"),
        (b'{"size": 1', "Input data was truncated"),
        (b"{} x", "trailing characters (byte 4)"),
        (b'{"weight": NaN}', "invalid character (byte 11)"),
        (b'{"weight": Infinity}', "invalid character (byte 11)"),
        (b'{"label": "\xff"}', "it is not UTF-8 text"),
        (b'{"label": "\xed\xa0\x80"}', "it is not UTF-8 text"),
        (b'{"\xff": 1}', "it is not UTF-8 text"),
        (b'\xef\xbb\xbf{"size": 1}', "invalid character (byte 0)"),
        (b'{"label": "\\udc00', "invalid utf-16 surrogate pair (byte 17)"),
        (b'{"label": "\\ud800\\udc00"', "Input data was truncated"),
        (b'{"free": ' + b"[" * 100_000, "it is nested more than 256 levels deep"),
        (b'{"size": 1, "size": 2}', "the key 'size' occurs twice in one object"),
        (b'{"free": [{"a": 1, "b": 2, "a": 3}]}', "the key 'a' occurs twice in one object"),
        (b'{"size": "one", NaN}', "it is not valid JSON"),
        (b'{"size": "one", "label": "\xff"}', "it is not UTF-8 text"),
        (b'{"size": "one", "free": ' + b"[" * 100_000, "it is nested more than 256 levels deep"),
    ],
)
def test_invalid_json_is_refused_with_its_reason(body: bytes, reason: str) -> None:
    error = refusal(body)
    assert ("invalid_json", None) == (error.code, error.param)
    assert f"We could not parse the JSON body of your request: {reason}." == error.message


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b'{"label": "a\\ud800"}', "label"),
        (b'{"label": "\\udc00 alone", "size": "one"}', "label"),
        (b'{"free": [{"\\ud800": 1}]}', "free[0]"),
        (b'{"later": null, "free": {"deep": ["\\udfff"]}}', "free.deep[0]"),
        (b'{"size": "one", "label": "\\udc00"}', "size"),
    ],
)
def test_lone_surrogate_is_refused_with_its_path(body: bytes, param: str) -> None:
    assert param == refusal(body).param


def test_lone_surrogate_in_a_key_of_the_body_is_refused() -> None:
    assert "Invalid key in the request body: '?': character 0 is" in refusal(b'{"\\ud800": 1}').message


def test_error_of_a_lone_surrogate_says_what_is_wrong() -> None:
    error = refusal(b'{"label": "a\\ud83d"}')
    reason = (
        "character 1 is the lone surrogate '\\ud83d', half of a character. "
        "Escape both halves, or write the character in UTF-8."
    )
    assert (f"Invalid value for 'label': {reason}", "invalid_value") == (error.message, error.code)


@pytest.mark.parametrize("body", [b'{"x": null, "size": 1}', b'{"size": 1, "x": null, "weight": null}'])
def test_unknown_null_asks_for_nothing(body: bytes) -> None:
    assert Box(size=1) == decode(DECODER, body)


def test_other_errors_of_a_body_with_an_unknown_null_are_found() -> None:
    error = refusal(b'{"x": null, "size": "one"}')
    assert ("size", "invalid_type") == (error.param, error.code)


@pytest.mark.parametrize("constant", [b"NaN", b"Infinity", b"-Infinity"])
def test_body_with_an_unknown_null_may_hold_no_constant_that_json_lacks(constant: bytes) -> None:
    assert "invalid_json" == refusal(b'{"x": null, "free": %s}' % constant).code


def test_the_caller_says_which_unknown_members_are_removed() -> None:
    found = []

    def removes(path: str, key: str, member: object) -> bool:
        found.append((path, key, member))
        return True

    assert Box(size=1) == decode(DECODER, b'{"x": [2], "size": 1}', removes)
    assert [("", "x", [2])] == found


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"null", "Invalid type for the request body: expected an object, but got null instead."),
        (b'{"size": 1.0}', "Invalid type for 'size': expected an integer, but got a decimal number instead."),
        (b'{"q - at `$.size`": 1}', "Unknown parameter: 'q - at `$.size`'."),
    ],
)
def test_body_of_another_type_is_refused_with_the_first_error(body: bytes, message: str) -> None:
    assert message == refusal(body).message


@pytest.mark.parametrize("number", [b"1" * 5000, b"-" + b"1" * 5000, b"1e999"])
@pytest.mark.parametrize("field", ["weight", "free"])
def test_number_beyond_every_float_is_refused_with_its_field(number: bytes, field: str) -> None:
    error = refusal(b'{"%s": %s}' % (field.encode(), number))
    assert (field, "invalid_value") == (error.param, error.code)


def test_too_large_number_in_free_form_json_is_refused_with_the_field() -> None:
    error = refusal(b'{"free": {"deep": [1e999]}}')
    assert "Invalid value for 'free.deep[0]': Number out of range." == error.message


def test_repeated_key_among_many_is_found() -> None:
    pairs: list[tuple[str, object]] = [(str(number), None) for number in range(100_000)]
    assert "99999" == decoding._repeated_key([*pairs, ("99999", None)])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(categories=None), max_size=6),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["size", "label", "free", "a"]), inner),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40))
@example(b'{"size":\xff')
def test_any_bytes_are_decoded_or_refused_with_one_error(body: bytes) -> None:
    try:
        box = decode(DECODER, body)
    except InvalidRequestError as error:
        msgspec.json.encode([error.message, error.param])
    else:
        msgspec.json.encode(box)
