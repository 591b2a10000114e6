import pytest

from antiphon.chat_formats.chat_format import HERMES, ToolNotation
from antiphon.chat_formats.foreign_notations import NamedOpening, foreign_notations, is_foreign
from antiphon.chat_formats.tool_notations import TOOL_NOTATIONS

NOTATIONS = [pytest.param(one, id=name) for name, one in TOOL_NOTATIONS.items()]


@pytest.mark.parametrize("own", NOTATIONS)
def test_no_foreign_opening_holds_a_trigger_of_the_own_family(own: ToolNotation) -> None:
    found = foreign_notations(own)
    openings = [*found.marks, *(one.opening for one in found.named)]
    assert [] == [opening for opening in openings for trigger in own.triggers if trigger in opening]


@pytest.mark.parametrize("one", NOTATIONS)
def test_opening_of_every_other_family_with_json_arguments_is_foreign(one: ToolNotation) -> None:
    found = foreign_notations(ToolNotation(shape="object", triggers=()))
    opening = (one.section_start + one.call_start).strip()
    named = NamedOpening(opening, one.name_end) in found.named
    marked = any(opening.startswith(mark) for mark in found.marks) or not opening
    assert is_foreign(one) == (named if one.shape == "named" else marked and one.shape == "object")


def test_brackets_and_fences_are_no_part_of_marks_and_endings() -> None:
    found = foreign_notations(HERMES)
    assert {"[TOOL_CALLS]", "Action:", "<TOOLCALL>"} <= set(found.marks)
    assert {"}", "]", "```", "</TOOLCALL>", "</function>"} <= set(found.endings)
    assert "" not in (*found.marks, *found.endings)
