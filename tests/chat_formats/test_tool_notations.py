"""Invariants of every notation in the table."""

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
"""The families that an operator can choose and that no template selects."""


@pytest.mark.parametrize("notation", NOTATIONS)
def test_each_trigger_is_a_prefix_of_the_section(notation: ToolNotation) -> None:
    first = f'{{"{notation.name_key}"' if notation.shape == "object" else ""
    opening = notation.section_start + notation.call_start + first
    assert notation.triggers
    assert all(trigger and opening.startswith(trigger) for trigger in notation.triggers)


@pytest.mark.parametrize("notation", NOTATIONS)
def test_no_trigger_is_a_prefix_of_another_or_of_a_custom_call(notation: ToolNotation) -> None:
    notations = (notation, *notation.alternatives)
    triggers = [CUSTOM_CALL.start, *(text for one in notations for text in one.triggers)]
    assert not any(one.startswith(two) for one, two in itertools.permutations(triggers, 2))


@pytest.mark.parametrize("notation", NOTATIONS)
def test_notation_has_the_fields_of_its_shape(notation: ToolNotation) -> None:
    assert (notation.shape == "xml") is (notation.parameters is not None)
    assert notation.shape == "pythonic" or not notation.quote
    assert notation.shape != "object" or not notation.name_end
    assert bool(notation.section_start) is bool(notation.section_end)
    assert all(not one.alternatives and not one.content_marks for one in notation.alternatives)


@pytest.mark.parametrize("notation", NOTATIONS)
def test_parallel_calls_have_a_text_between_them(notation: ToolNotation) -> None:
    between = notation.call_end + notation.separator + notation.call_start
    assert between or not notation.parallel


def test_every_name_in_the_table_is_a_family() -> None:
    assert {mark.name for mark in FAMILIES} | ONLY_BY_NAME >= set(TOOL_NOTATIONS)


def test_family_without_a_notation_uses_the_generic_one() -> None:
    assert HERMES == tool_notation("chatml") == tool_notation("hermes")
