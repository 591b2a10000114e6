"""The table keeps to what its Structs promise."""

import itertools

import pytest

from antiphon.chat_formats.builtin import FAMILIES
from antiphon.chat_formats.chat_format import CUSTOM_CALL, HERMES, ToolNotation
from antiphon.chat_formats.tool_notations import TOOL_NOTATIONS, tool_notation

NOTATIONS = [
    pytest.param(one, id=f"{name}-{number}" if number else name)
    for name, notation in TOOL_NOTATIONS.items()
    for number, one in enumerate((notation, *notation.alternatives))
]
ONLY_BY_NAME = {"llama-pythonic"}
"""No template tells it from its sibling."""


@pytest.mark.parametrize("notation", NOTATIONS)
def test_triggers_begin_the_section(notation: ToolNotation) -> None:
    first = f'{{"{notation.name_key}"' if notation.shape == "object" else ""
    opening = notation.section_start + notation.call_start + first
    assert notation.triggers
    assert all(trigger and opening.startswith(trigger) for trigger in notation.triggers)


@pytest.mark.parametrize("notation", NOTATIONS)
def test_no_trigger_is_the_beginning_of_another_or_of_a_custom_call(notation: ToolNotation) -> None:
    notations = (notation, *notation.alternatives)
    triggers = [CUSTOM_CALL.start, *(text for one in notations for text in one.triggers)]
    assert not any(one.startswith(two) for one, two in itertools.permutations(triggers, 2))


@pytest.mark.parametrize("notation", NOTATIONS)
def test_the_shape_has_what_it_needs(notation: ToolNotation) -> None:
    assert (notation.shape == "xml") is (notation.parameters is not None)
    assert notation.shape == "pythonic" or not notation.quote
    assert notation.shape != "object" or not notation.name_end
    assert bool(notation.section_start) is bool(notation.section_end)
    assert all(not one.alternatives and not one.content_marks for one in notation.alternatives)


@pytest.mark.parametrize("notation", NOTATIONS)
def test_calls_can_be_told_apart(notation: ToolNotation) -> None:
    between = notation.call_end + notation.separator + notation.call_start
    assert between or not notation.parallel


def test_every_name_of_the_table_is_that_of_a_family() -> None:
    assert {mark.name for mark in FAMILIES} | ONLY_BY_NAME >= set(TOOL_NOTATIONS)


def test_a_family_that_is_not_known_to_call_uses_the_generic_notation() -> None:
    assert HERMES == tool_notation("chatml") == tool_notation("hermes")
