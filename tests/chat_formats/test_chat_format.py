"""Values of notations: defaults, equality and markers."""

import pytest

from antiphon.chat_formats.chat_format import (
    CUSTOM_CALL,
    HERMES,
    ChatFormat,
    ReasoningMarkers,
    ToolNotation,
    tool_markers,
)


def test_format_without_markers_has_no_reasoning() -> None:
    assert ChatFormat("chatml").reasoning is None


def test_formats_are_immutable_and_equal_by_value() -> None:
    markers = ReasoningMarkers("<think>", "</think>")
    assert ChatFormat("hermes", markers) == ChatFormat("hermes", ReasoningMarkers("<think>", "</think>"))
    with pytest.raises(AttributeError):
        markers.start = "<thought>"  # type: ignore[misc]


def test_tool_markers_include_alternatives_and_custom_calls() -> None:
    other = ToolNotation(shape="named", triggers=("<x>",), call_start="<x>")
    notation = ToolNotation(shape="object", triggers=("<y>",), alternatives=(other,))
    assert {"<x>", "<y>", CUSTOM_CALL.start, CUSTOM_CALL.name_end} == set(tool_markers(notation))


def test_default_notation_is_the_generic_one() -> None:
    assert HERMES == ChatFormat("chatml").tools
