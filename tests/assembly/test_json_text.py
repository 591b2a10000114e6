import json
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.assembly.byte_source import ByteSource, Reading
from antiphon.assembly.json_text import JSONString, decoded, encoded, json_string, json_value, quoted_text

T = TypeVar("T")

texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=10,
)


def run(source: ByteSource, reading: Reading[T], data: bytes, size: int = 1) -> T:
    queue = [data[at : at + size] for at in range(0, len(data), size)]
    while True:
        try:
            next(reading)
        except StopIteration as stop:
            result: T = stop.value
            return result
        if queue:
            source.feed(queue.pop(0))
        else:
            source.end()


@given(value=values, size=st.integers(1, 9), spaced=st.booleans())
def test_a_value_is_passed_on_byte_for_byte(value: object, size: int, *, spaced: bool) -> None:
    text = json.dumps(value, indent=1 if spaced else None, ensure_ascii=spaced).encode()
    source, found = ByteSource(), bytearray()
    assert run(source, json_value(source, found.extend), b" \n" + text + b"}]", size)
    assert (text, len(text) + 2) == (bytes(found), source.position)


@pytest.mark.parametrize("text", ['{"a": [1', '"a\\', "", " "])
def test_truncated_value_is_reported(text: str) -> None:
    source, found = ByteSource(), bytearray()
    assert not run(source, json_value(source, found.extend), text.encode())
    assert text.strip().encode() == found


@pytest.mark.parametrize(("expected", "text"), [("a\n", '"a\\n",'), (None, "1,"), (None, '"a'), (None, '"\\q"')])
def test_json_string_returns_the_text_of_a_complete_string(expected: str | None, text: str) -> None:
    source = ByteSource()
    assert expected == run(source, json_string(source), text.encode())


def test_malformed_bytes_of_a_string_are_replaced() -> None:
    source = ByteSource()
    assert "a\ufffd" == run(source, json_string(source), b'"a\xff"')


def test_characters_beyond_ascii_are_not_escaped() -> None:
    assert '"é😀"' == encoded("é😀")


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", "01", "", "[" * 100_000])
def test_decoded_refuses_text_that_is_no_json(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        decoded(text)


def test_incomplete_character_at_the_end_of_a_string_is_replaced() -> None:
    found: list[str] = []
    target = JSONString(found.append)
    target.add(b"a\xe2")
    target.end()
    assert "a\ufffd" == "".join(found)


@given(texts, st.data())
def test_string_written_in_pieces_is_the_encoded_string(text: str, data: st.DataObject) -> None:
    found: list[str] = []
    target = JSONString(found.append)
    raw = text.encode()
    at = data.draw(st.integers(0, len(raw)))
    target.add(raw[:at])
    target.add(raw[at:])
    target.end()
    assert encoded(text) == '"' + "".join(found) + '"'


@given(text=texts, size=st.integers(1, 9), python=st.booleans(), ascii_only=st.booleans())
def test_strings_of_json_and_of_python_are_decoded(text: str, size: int, *, python: bool, ascii_only: bool) -> None:
    written = (ascii(text) if ascii_only else repr(text)) if python else json.dumps(text, ensure_ascii=ascii_only)
    assert text == unquoted(written[1:], written[:1], size)


def unquoted(written: str, quote: str, size: int) -> str:
    source, found = ByteSource(), bytearray()
    reading = quoted_text(source, quote.encode(), found.extend, lambda text: found.extend(text.encode()))
    run(source, reading, written.encode(), size)
    return found.decode()


@pytest.mark.parametrize(
    ("expected", "written"),
    [
        ("\ufffd", r"\ud83d"),
        ("\ufffd", r"\ud83d\u0000"),
        ("\ufffdn", r"\ud83dn"),
        ("\ufffd!", r"\u12!"),
        ("\ufffdX4", r"\u12X4"),
        ("\ufffd", r"\U00110000"),
        ("\U0010ffff", r"\U0010ffff"),
        ("\ud7ff\ue000", r"\ud7ff\ue000"),
        ("\U00010000\U0010ffff", r"\ud800\udc00\udbff\udfff"),
        ("\\d/\x0b", r"\d\/\v"),
    ],
)
def test_invalid_code_points_are_replaced_and_unknown_escapes_stay(expected: str, written: str) -> None:
    assert expected == unquoted(written + "'", "'", 1)


@pytest.mark.parametrize("cut", ["\\", r"\u12", r"\ud83d", r"\ud83d\u1"])
def test_truncated_escape_is_dropped(cut: str) -> None:
    assert "a" == unquoted("a" + cut, '"', 1)
