"""The notation structs are values."""

import pytest

from antiphon.chat_formats.chat_format import (
    CUSTOM_CALL,
    HERMES,
    ChatFormat,
    ReasoningMarkers,
    ToolNotation,
    tool_markers,
)


def test_a_format_without_markers_does_not_reason() -> None:
    assert ChatFormat("chatml").reasoning is None


def test_formats_are_equal_by_value_and_immutable() -> None:
    markers = ReasoningMarkers("<think>", "</think>")
    assert ChatFormat("hermes", markers) == ChatFormat("hermes", ReasoningMarkers("<think>", "</think>"))
    with pytest.raises(AttributeError):
        markers.start = "<thought>"  # type: ignore[misc]


def test_the_markers_of_a_notation_are_those_of_its_alternatives_and_of_custom_calls_too() -> None:
    other = ToolNotation(shape="named", triggers=("<x>",), call_start="<x>")
    notation = ToolNotation(shape="object", triggers=("<y>",), alternatives=(other,))
    assert {"<x>", "<y>", CUSTOM_CALL.start, CUSTOM_CALL.name_end} == set(tool_markers(notation))


def test_the_generic_notation_is_the_default() -> None:
    assert HERMES == ChatFormat("chatml").tools
