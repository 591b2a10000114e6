"""The notation structs are values."""

import pytest

from antiphon.chat_formats.base import ChatFormat, ReasoningMarkers


def test_a_format_without_markers_does_not_reason() -> None:
    assert ChatFormat("chatml").reasoning is None


def test_formats_are_equal_by_value_and_immutable() -> None:
    markers = ReasoningMarkers("<think>", "</think>")
    assert ChatFormat("hermes", markers) == ChatFormat("hermes", ReasoningMarkers("<think>", "</think>"))
    with pytest.raises(AttributeError):
        markers.start = "<thought>"  # type: ignore[misc]
