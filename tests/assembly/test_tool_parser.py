import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from antiphon.assembly.call_pieces import CallStart, CallText
from antiphon.assembly.tool_parser import Content, ToolParser
from antiphon.chat_formats.chat_format import CUSTOM_CALL, HERMES, ToolNotation, tool_markers
from antiphon.chat_formats.tool_notations import TOOL_NOTATIONS
from tests.assembly.notation_writer import Call, write
from tests.assembly.parsing import TOOLS, calls, content, joined, parse

NAMED = {
    f"{name}-{number}" if number else name: one
    for name, notation in TOOL_NOTATIONS.items()
    for number, one in enumerate((notation, *notation.alternatives))
}
NOTATIONS = [pytest.param(one, id=name) for name, one in NAMED.items()]
ALL = list(NAMED.values())
LLAMA, PYTHONIC = TOOL_NOTATIONS["llama"], TOOL_NOTATIONS["llama-pythonic"]

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ['"', "\\", "{", "]", "a'b", "\n\n", "</", "1", "true", "<tool_call>", "é😀"]
)
inner = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda values: st.lists(values, max_size=3) | st.dictionaries(texts, values, max_size=3),
    max_leaves=6,
)
arguments = st.fixed_dictionaries(
    {},
    optional={
        "city": texts,
        "count": st.integers(),
        "ok": st.booleans() | st.none(),
        "where": st.dictionaries(texts, inner, max_size=3),
        "tags": st.lists(inner, max_size=3),
    },
)


def strings(value: object) -> Iterator[str]:
    """Give every text in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for member in [*value, *value.values()] if isinstance(value, dict) else value:
            yield from strings(member)


def end_of_text(notation: ToolNotation, key: str) -> str:
    """Give the mark that ends the text of an argument; the empty text where none can end it too early."""
    tags = notation.parameters
    return tags.end.replace("{key}", key).strip() if tags else notation.quote


def writable(notation: ToolNotation, values: dict[str, Any]) -> bool:
    """Say whether the notation can write these values: a text cannot hold the mark that ends it."""
    ends = [end for key in values if (end := end_of_text(notation, key))]
    return not any(end in text for end in ends for text in strings(values))


def some_calls(notation: ToolNotation, one: dict[str, Any], two: dict[str, Any]) -> list[Call]:
    """Call a tool with these arguments, several times where an answer may."""
    return [("find", one), ("no-args", {}), ("find", two)][: 3 - (one == two)] if notation.parallel else [("find", one)]


@settings(deadline=None, max_examples=15)
@pytest.mark.parametrize("notation", NOTATIONS)
@given(st.data())
def test_what_a_notation_writes_is_read_in_every_cut(notation: ToolNotation, data: st.DataObject) -> None:
    values = arguments.filter(lambda values: writable(notation, values))
    written = some_calls(notation, data.draw(values), data.draw(values))
    said = "" if notation.leading_only else "Let me see: é <"
    text = f"{said} \n{write(notation, written)}\n"
    whole = parse(notation, text)
    assert written == [(name, json.loads(found)) for name, found in calls(whole)]
    assert said == content(whole).rstrip()
    assert whole == parse(notation, text, data.draw(st.integers(1, 7)))


@settings(deadline=None, max_examples=15)
@pytest.mark.parametrize("notation", NOTATIONS)
@given(arguments, arguments, st.data())
def test_calls_that_are_cut_begin_as_the_whole_ones(
    notation: ToolNotation, one: dict[str, Any], two: dict[str, Any], data: st.DataObject
) -> None:
    text = write(notation, some_calls(notation, one, two))
    cut = text[: data.draw(st.integers(0, len(text)))]
    whole, begun = calls(parse(notation, text)), calls(parse(notation, cut))
    assert parse(notation, cut) == parse(notation, cut, 1)
    assert [name for name, _ in whole[: len(begun)]] == [name for name, _ in begun]
    assert all(full.startswith(found) for (_, full), (_, found) in zip(whole, begun, strict=False))


@pytest.mark.parametrize(
    "notation", [pytest.param(one, id=name) for name, one in NAMED.items() if end_of_text(one, "city")]
)
def test_a_text_that_holds_the_mark_of_its_end_ends_there(notation: ToolNotation) -> None:
    text = write(notation, [("find", {"city": f"a{end_of_text(notation, 'city')}b"})])
    ((name, found),) = calls(parse(notation, text))
    assert ("find", '{"city": "a"') == (name, found.removesuffix("}"))


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(ALL), st.data())
def test_any_text_is_parsed_alike_in_every_split(notation: ToolNotation, data: st.DataObject) -> None:
    fragments = [*tool_markers(notation), "find", "no-args", "run", '{"name"', ": ", '"', "{", "}", "[", "]", "(", ")",
                 "city", "=", ",", "'", "\\", " ", "\n", "é", "1", "null", "<", ">"]  # fmt: skip
    text = "".join(data.draw(st.lists(st.sampled_from(fragments), max_size=25))).encode()
    whole = parse(notation, text)
    assert whole == parse(notation, text, 1)
    assert whole == parse(notation, text, data.draw(st.integers(1, 9)))
    for piece in whole:
        if isinstance(piece, Content):
            assert piece.data == text[piece.start : piece.start + len(piece.data)]


@settings(deadline=None)
@given(st.sampled_from(ALL), st.text())
def test_text_without_triggers_is_unchanged_content(notation: ToolNotation, text: str) -> None:
    assume(not any(marker.strip() in text for marker in tool_markers(notation)))
    assert text.encode() == b"".join(piece.data for piece in parse(notation, text, 1) if isinstance(piece, Content))


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>\nnot a call\n</tool_call>",
        '<tool_call>\n{"name": "unknown", "arguments": {}}\n</tool_call>',
        '<tool_call>\n{"arguments": {}}\n</tool_call>',
        '<tool_call>\n{"name": "run", "arguments": {}}\n</tool_call>',
        "<tool_call><b>",
        '<tool_call>{x : 1, "name": "find"}</tool_call>',
        'a <tool_call>\n[1] <custom_tool_call name="find">\nx',
    ],
)
def test_text_after_a_trigger_that_is_no_call_is_unchanged_content(text: str) -> None:
    assert [Content(0, text.encode())] == parse(HERMES, text, 1)


@pytest.mark.parametrize(
    "opening", ["<tool_call>", '<tool_call>\n{"na', '<tool_call>\n{"name": "fi', '<custom_tool_call name="not']
)
def test_call_truncated_before_its_name_is_dropped(opening: str) -> None:
    assert [Content(0, b"a ")] == parse(HERMES, f"a {opening}", 1)


def test_content_is_held_only_while_it_may_be_a_trigger() -> None:
    parser = ToolParser(HERMES, TOOLS)
    assert [Content(0, b"a ")] == parser.push(b"a <tool")
    assert [Content(2, b"<toolbox")] == joined(parser.push(b"box"))


def test_arguments_are_returned_as_they_are_decoded() -> None:
    parser = ToolParser(HERMES, TOOLS)
    assert [] == parser.push(b'<tool_call>\n{"name": "find"')[1:]
    assert [CallText(0, '{"ci')] == parser.push(b', "arguments": {"ci')
    assert [CallText(0, 'ty":  "P')] == parser.push(b'ty":  "P\xc3')
    assert [CallText(0, 'é"}')] == joined([*parser.push(b'\xa9"}'), *parser.push(b"}\n</tool_call>")])


def test_arguments_may_come_before_the_name() -> None:
    text = '<tool_call>{"id": [1], "arguments": {"city": "P"}, "name": "find"}</tool_call>'
    assert [CallStart(0, "find", custom=False), CallText(0, '{"city": "P"}')] == parse(HERMES, text, 1)


@pytest.mark.parametrize("second", ["no-args", "unknown", 1])
def test_only_the_first_name_of_a_call_counts(second: object) -> None:
    for order in (
        '"name": "find", "name": {}, "arguments": {"city": "P"}',
        '"name": "find", "arguments": {"city": "P"}, "name": {}',
    ):
        text = f"<tool_call>{{{order.replace('{}', json.dumps(second))}}}</tool_call>"
        expected = [CallStart(0, "find", custom=False), CallText(0, '{"city": "P"}')]
        assert expected == parse(HERMES, text, 1)


@pytest.mark.parametrize(
    ("expected", "written"),
    [
        ('{"city": "a\\"é😀/\ufffd"}', r'"{\"city\": \"a\\\"\u00e9\ud83d\ude00\/\ud83d\"}"'),
        ('{ "city" :"P"}', '{ "city" :"P"}'),
        ("{}", "null"),
    ],
)
def test_arguments_as_a_json_string_or_null_become_an_object(expected: str, written: str) -> None:
    text = f'<tool_call>\n{{"name": "find", "arguments": {written}}}\n</tool_call>'
    assert [("find", expected)] == calls(parse(HERMES, text, 1))


def test_a_call_without_arguments_has_an_empty_object() -> None:
    assert [("find", "{}")] == calls(parse(HERMES, '<tool_call>{"name": "find"}</tool_call>'))
    functionary = TOOL_NOTATIONS["functionary-v3.1"]
    assert [("no-args", "{}")] == calls(parse(functionary, "<function=no-args></function>", 1))


def test_a_truncated_call_keeps_the_arguments_so_far() -> None:
    expected = [CallStart(0, "find", custom=False), CallText(0, '{"city": "Par')]
    assert expected == parse(HERMES, '<tool_call>\n{"name": "find", "arguments": {"city": "Par', 1)


@pytest.mark.parametrize("malformed", ["x", '"arguments": ', '"id": '])
def test_rest_of_a_malformed_call_object_is_content(malformed: str) -> None:
    pieces = parse(HERMES, f'<tool_call>{{"name": "find", {malformed}}}</tool_call>', 1)
    assert ([("find", "")], "}</tool_call>") == (calls(pieces), content(pieces))


@pytest.mark.parametrize("left", ["", "}", "}\n</tool"])
def test_truncated_end_marker_is_no_content(left: str) -> None:
    pieces = parse(HERMES, '<tool_call>\n{"name": "find", "arguments": {"city": "P"}' + left, 1)
    assert [("find", '{"city": "P"}')] == calls(pieces)
    assert "" == content(pieces)


@pytest.mark.parametrize("notation", NOTATIONS)
def test_section_truncated_within_its_end_leaves_no_content(notation: ToolNotation) -> None:
    text = write(notation, [("find", {"city": "P"})])
    for end in range(len(text) - len(notation.section_end), len(text) + 1):
        pieces = parse(notation, text[:end], 1)
        assert ("", "find") == (content(pieces), calls(pieces)[0][0])


@pytest.mark.parametrize("notation", NOTATIONS)
def test_call_truncated_after_its_name_leaves_no_content(notation: ToolNotation) -> None:
    text = write(notation, [("find", {"city": "P", "count": 1})])
    cuts = [parse(notation, text[:end]) for end in range(len(text))]
    begun = [pieces for pieces in cuts if calls(pieces)]
    assert begun
    assert [""] * len(begun) == [content(pieces) for pieces in begun]


@pytest.mark.parametrize("tools", [{"find": {}}, {"run": None}, TOOLS])
@pytest.mark.parametrize("notation", NOTATIONS)
def test_answer_that_must_call_has_no_content_wherever_it_is_cut(notation: ToolNotation, tools: dict[str, Any]) -> None:
    functions = write(notation, [("find", {"city": "P"})]) if "find" in tools else ""
    custom = f"\n{CUSTOM_CALL.start}run{CUSTOM_CALL.name_end}x" if "run" in tools else ""
    text = f"\n{functions}{custom}"
    for end in range(len(text) + 1):
        for size in (1, 3):
            assert "" == content(parse(notation, text[:end], size, tools=tools, content="none"))


@pytest.mark.parametrize("notation", [pytest.param(one, id=name) for name, one in NAMED.items() if one.parallel])
def test_no_content_follows_a_call_wherever_a_later_one_is_cut(notation: ToolNotation) -> None:
    text = (
        write(notation, [("find", {"city": "P"}), ("no-args", {})]) + f"\n{CUSTOM_CALL.start}run{CUSTOM_CALL.name_end}x"
    )
    first = len(write(notation, [("find", {"city": "P"})]))
    for end in range(first, len(text) + 1):
        pieces = parse(notation, text[:end], 1)
        assert ("", "find") == (content(pieces), calls(pieces)[0][0])


@pytest.mark.parametrize("notation", [pytest.param(one, id=name) for name, one in NAMED.items() if one.parallel])
def test_json_content_is_whole_though_its_strings_hold_a_call(notation: ToolNotation) -> None:
    text = json.dumps({"a": write(notation, [("no-args", {})]) + notation.triggers[0]}, ensure_ascii=False)
    assert text == content(parse(notation, text, 1, content="json"))
    assert text[:-3] == content(parse(notation, text[:-3], 1, content="json"))


def test_beginning_of_a_marker_is_no_json_content() -> None:
    assert "" == content(parse(HERMES, "\n<tool_", 1, content="json")).strip()
    assert "[" == content(parse(TOOL_NOTATIONS["mistral"], "[", 1, content="json"))


def test_beginning_of_a_marker_in_free_text_is_content() -> None:
    assert "a <tool_" == content(parse(HERMES, "a <tool_", 1))
    assert "Wait <tool_" == content(parse(HERMES, '<tool_call>{"name": "find"}</tool_call> Wait <tool_', 1))


def test_cut_marker_with_a_control_token_is_no_content() -> None:
    harmony = TOOL_NOTATIONS["harmony"]
    parser = ToolParser(harmony, {}, opening="<|start|>")
    said = [*parser.push(b"assistantHi"), *parser.push(b"<|channel|>"), *parser.push(b"fi")]
    assert [Content(9, b"Hi")] == joined([*said, *parser.end(control_end=22)])
    plain = ToolParser(harmony, {})
    assert [Content(0, b"<|channel|>fi")] == joined([*plain.push(b"<|channel|>fi"), *plain.end()])


def test_text_after_a_section_without_its_end_is_content() -> None:
    deepseek = TOOL_NOTATIONS["deepseek"]
    section = write(deepseek, [("find", {})]).removesuffix(deepseek.section_end)
    assert "So." == content(parse(deepseek, f"{section} So.", 1))


def test_incomplete_character_at_the_end_of_a_custom_input_is_replaced() -> None:
    text = f"{CUSTOM_CALL.start}run{CUSTOM_CALL.name_end}x".encode() + b"\xc3"
    assert [("run", "x\ufffd")] == calls(parse(HERMES, text, 1))


def test_without_custom_tools_the_start_of_a_custom_call_is_content() -> None:
    text = f"a {CUSTOM_CALL.start}fi"
    assert text == content(parse(HERMES, text, 1, tools={"find": {}}))


def test_text_after_calls_is_content_without_leading_whitespace() -> None:
    text = '<tool_call>{"name": "find"}</tool_call>\n\nDone.'
    assert "Done." == content(parse(HERMES, text, 1))


def test_a_leading_trigger_counts_at_the_start_only() -> None:
    call = '{"name": "find", "parameters": {}}'
    assert [("find", "{}")] == calls(parse(LLAMA, f" \n{call}", 1))
    assert [] == calls(parse(LLAMA, f"So: {call}", 1))
    assert "[1, 2]" == content(parse(PYTHONIC, "[1, 2]", 1))


@pytest.mark.parametrize(("notation", "call"), [(LLAMA, '{"name": "find", "parameters": {}}'), (PYTHONIC, "[find()]")])
def test_several_calls_with_a_leading_trigger_may_follow_one_another(notation: ToolNotation, call: str) -> None:
    pieces = parse(notation, f"{call}\n{call.replace('find', 'no-args')} So.", 1)
    assert ([("find", "{}"), ("no-args", "{}")], "So.") == (calls(pieces), content(pieces))


@pytest.mark.parametrize("notation", [pytest.param(one, id=name) for name, one in NAMED.items() if one.parallel])
def test_call_that_equals_an_earlier_one_ends_the_message(notation: ToolNotation) -> None:
    one, two = ("find", {"city": "P"}), ("find", {"city": "Pa"})
    for size in (1, 2, 5, 1000):
        pieces = parse(notation, f"{write(notation, [one, two, one, ('no-args', {})])} So.", size)
        assert [one, two] == [(name, json.loads(found)) for name, found in calls(pieces)]
        assert "" == content(pieces)


def test_call_id_is_read_only_on_the_notations_side_of_the_name() -> None:
    solar = TOOL_NOTATIONS["solar"]
    start = "<|tool_calls|><|tool_call:begin|>1<|tool_call:name|>find"
    assert [("find", "{}")] == calls(parse(solar, f"{start}<|tool_call:args|>{{}}<|tool_call:end|><|calls|>", 1))
    assert [] == calls(parse(solar, f"{start}<|tool_call:name|>1<|tool_call:args|>{{}}<|tool_call:end|><|calls|>", 1))


def test_leading_trigger_may_follow_whitespace_and_marks_of_content() -> None:
    call = " to=functions.find<|channel|>commentary <|constrain|>json<|message|>{}<|call|>"
    harmony = TOOL_NOTATIONS["harmony"]
    assert [("find", "{}")] == calls(parse(harmony, f"\n<|start|>assistant{call}", 1))
    assert [] == calls(parse(harmony, f"Hi{call}", 1))


def test_opening_is_parsed_as_if_the_model_had_written_it() -> None:
    opening = '<tool_call>\n{"name": "find", "arguments": '
    assert [("find", '{"city": "P"}')] == calls(parse(HERMES, '{"city": "P"}}\n</tool_call>', 1, opening=opening))
    functionary = TOOL_NOTATIONS["functionary-v3.2"]
    assert [("find", "{}")] == calls(parse(functionary, "find\n{}", 1, opening=">>>"))
    assert [Content(4, b"Hi.")] == parse(functionary, "all\nHi.", 1, opening=">>>")
    assert [Content(0, b"x")] == parse(HERMES, "x", opening="<tool_call>")


def test_marks_of_content_are_dropped() -> None:
    harmony = TOOL_NOTATIONS["harmony"]
    text = "<|channel|>commentary<|message|>Wait.<|end|><|start|>assistant<|channel|>final<|message|>Hi<|return|>"
    assert "Wait.Hi" == content(parse(harmony, text, 1, tools={}))
    text = "<|start|>assistant<|channel|>commentary to=functions.find <|constrain|>json<|message|>{}<|call|>"
    assert [CallStart(0, "find", custom=False), CallText(0, "{}")] == parse(harmony, text, 1)


def test_without_tools_a_call_is_content() -> None:
    text = '<tool_call>{"name": "find"}</tool_call>'
    assert [Content(0, text.encode())] == parse(HERMES, text, 1, tools={})


@pytest.mark.parametrize("notation", NOTATIONS)
def test_the_input_of_a_custom_tool_runs_to_the_end(notation: ToolNotation) -> None:
    said = "So:\n\n"
    taken = f"x\n</custom_tool_call>{notation.call_end}\n{write(notation, [('find', {})])} "
    text = f"{said}{CUSTOM_CALL.start}run{CUSTOM_CALL.name_end}{taken}"
    expected = [Content(0, said.encode()), CallStart(0, "run", custom=True), CallText(0, taken)]
    assert expected == parse(notation, text, 1)


@pytest.mark.parametrize("notation", NOTATIONS)
def test_a_custom_call_may_follow_calls_of_functions(notation: ToolNotation) -> None:
    text = f"{write(notation, [('find', {})])}\n{CUSTOM_CALL.start}run{CUSTOM_CALL.name_end}x"
    assert [("find", "{}"), ("run", "x")] == calls(parse(notation, text, 1))
