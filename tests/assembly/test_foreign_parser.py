"""Calls in foreign notations, parsed in every chunking."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.assembly.tool_parser import Content, ToolParser
from antiphon.chat_formats.chat_format import HERMES
from antiphon.chat_formats.foreign_notations import (
    ARGUMENTS_KEYS,
    FENCES,
    NAME_KEYS,
    NESTING_KEYS,
    NamedOpening,
    foreign_notations,
)
from antiphon.chat_formats.tool_notations import TOOL_NOTATIONS
from tests.assembly.notation_writer import Call, write
from tests.assembly.parsing import TOOLS, calls, content, joined, parse

OTHERS = foreign_notations(HERMES)

values = st.dictionaries(
    st.sampled_from(["city", "a", '"']), st.text(max_size=5) | st.integers() | st.just({"name": "x"})
)
names = st.sampled_from(["find", "no-args"])


def objects(written: list[Call], *, key: str, arguments: str, nested: str) -> list[str]:
    found = [{key: name, arguments: values} for name, values in written]
    return [json.dumps({"type": "function", nested: {**one}} if nested else one, ensure_ascii=False) for one in found]


@st.composite
def foreign(draw: st.DrawFn, written: list[Call]) -> str:
    """Write the calls in some foreign notation."""
    if draw(st.booleans()):
        one: NamedOpening = draw(st.sampled_from(OTHERS.named))
        texts = [f"{one.opening}{name}{one.name_end}{json.dumps(values)}" for name, values in written]
        return "\n".join(texts)
    nested = draw(st.sampled_from(["", *NESTING_KEYS]))
    key = "name" if nested else draw(st.sampled_from(NAME_KEYS))
    texts = objects(written, key=key, arguments=draw(st.sampled_from(ARGUMENTS_KEYS)), nested=nested)
    inner = f"[{', '.join(texts)}]" if draw(st.booleans()) else draw(st.sampled_from(["\n", ", "])).join(texts)
    mark, fence = draw(st.sampled_from(["", *OTHERS.marks])), draw(st.sampled_from(["", *FENCES]))
    return f"{mark}{fence}\n{inner}\n```" if fence else f"{mark}{inner}"


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(names, values), min_size=1, max_size=3, unique_by=repr), st.data())
def test_foreign_calls_are_the_calls_of_the_own_notation_in_every_chunking(
    written: list[Call], data: st.DataObject
) -> None:
    text = data.draw(foreign(written))
    found = parse(HERMES, text, data.draw(st.integers(1, 9)), foreign=True)
    own = [(name, json.loads(arguments)) for name, arguments in calls(parse(HERMES, write(HERMES, written)))]
    assert own == [(name, json.loads(arguments)) for name, arguments in calls(found)]
    assert "" == content(found)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(names, values), min_size=1, max_size=2, unique_by=repr), st.data())
def test_cut_foreign_calls_lose_no_text_before_the_name_and_give_none_after_it(
    written: list[Call], data: st.DataObject
) -> None:
    text = data.draw(foreign(written))
    cut = text[: data.draw(st.integers(0, len(text)))]
    pieces = parse(HERMES, cut, foreign=True)
    assert pieces == parse(HERMES, cut, 1, foreign=True)
    assert content(pieces) == ("" if calls(pieces) else cut)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_text_is_whole_in_every_chunking(data: st.DataObject) -> None:
    fragments = ["{", "}", '"name"', '"function"', '"tool"', '"type"', '"id"', ": ", '"find"', '"fin', '"other"', "[",
                 ",", '"arguments"', "```", "json", "\n", "<function=", "find", ">", "Action:", "[TOOL_CALLS]", "x",
                 " ", "é", '"run"', '"', "{}"]  # fmt: skip
    text = "".join(data.draw(st.lists(st.sampled_from(fragments), max_size=14)))
    whole = parse(HERMES, text, foreign=True)
    assert whole == parse(HERMES, text, data.draw(st.integers(1, 7)), foreign=True)
    if not calls(whole):
        assert text == content(whole)
    assert text == content(parse(HERMES, text, 1))


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "other", "arguments": {}}',
        '{"name": "run", "input": "x"}',
        '{"arguments": {}, "name": "find"}',
        'So: {"name": "find", "arguments": {}}',
        '{"a": {"name": "find", "arguments": {}}}',
        '[1, {"name": "find", "arguments": {}}]',
        "```python\nfind()\n```",
        "<function=other>{}</function>",
        '{"name": "find',
    ],
)
def test_json_that_does_not_begin_as_a_call_of_a_declared_function_is_text(text: str) -> None:
    assert [Content(0, text.encode())] == parse(HERMES, text, 1, foreign=True)


@pytest.mark.parametrize(
    ("before", "after"),
    [('{"n', "o"), ('{"name": "fin', "e"), ("```", "p"), ("```json\n{", '"x'), ("<function=find", "er"), ("[", "1")],
)
def test_text_is_held_only_while_a_call_may_follow(before: str, after: str) -> None:
    parser = ToolParser(HERMES, TOOLS, foreign=True)
    assert [] == parser.push(before.encode())
    assert [Content(0, (before + after).encode())] == joined(parser.push(after.encode()))


def test_call_begins_with_its_name_and_its_arguments_follow_as_they_come() -> None:
    parser = ToolParser(HERMES, TOOLS, foreign=True)
    assert ["find"] == [name for name, _ in calls(parser.push(b'```json\n{"name": "find"'))]
    assert [("", '{"ci')] == [
        ("", piece.text) for piece in parser.push(b', "arguments": {"ci') if hasattr(piece, "text")
    ]


def test_foreign_calls_count_only_where_they_may() -> None:
    text = '{"name": "find", "arguments": {}}'
    assert [("find", "{}")] == calls(parse(HERMES, text, foreign=True))
    assert [] == calls(parse(HERMES, text))
    assert [] == calls(parse(HERMES, text, foreign=True, tools={}))


def test_own_notation_goes_before_the_foreign_ones() -> None:
    llama = TOOL_NOTATIONS["llama"]
    own = '{"name": "find", "parameters": {"city": "P"}}'
    assert [("find", '{"city": "P"}')] == calls(parse(llama, own, 1, foreign=True))
    assert [("find", '{"city": "P"}')] == calls(parse(llama, own.replace('"name"', '"tool"'), 1, foreign=True))


def test_missing_arguments_are_an_empty_object() -> None:
    assert [("find", "{}")] == calls(parse(HERMES, '{"name": "find"}', 1, foreign=True))


def test_other_members_of_the_object_are_skipped() -> None:
    text = '{"type": "function", "id": "a", "name": "find", "x": [1], "arguments": {"city": "P"}, "input": {}}'
    assert [("find", '{"city": "P"}')] == calls(parse(HERMES, text, 1, foreign=True))


def test_equal_foreign_calls_end_the_message() -> None:
    text = '{"name": "find", "arguments": {"city": "P"}}\n' * 3
    expected: list[tuple[str, Any]] = [("find", '{"city": "P"}')]
    pieces = parse(HERMES, text, 1, foreign=True)
    assert (expected, "") == (calls(pieces), content(pieces))
