# ruff: noqa: RUF001 (full-width bars are what the markers are written with)
from typing import Any

import pytest

from antiphon.assembly.tool_parser import CallEnd
from antiphon.chat_formats.chat_format import HERMES
from antiphon.chat_formats.tool_notations import TOOL_NOTATIONS
from tests.assembly.parsing import calls, parse

PYTHONIC, CODER = TOOL_NOTATIONS["llama-pythonic"], TOOL_NOTATIONS["qwen3-coder"]


@pytest.mark.parametrize(
    ("expected", "value"),
    [
        ('"5"', "city>\n5\n"),
        ('" a\\n b "', "city>\n a\n b \n"),
        ("5", "count>\n5\n"),
        ("5", "count> 5 "),
        ('"five"', "count>\nfive\n"),
        ("true", "ok>\nTrue\n"),
        ("null", "ok>\nnull\n"),
        ('["</parameter>"]', 'tags>\n["</parameter>"]\n'),
        ('["</parameter>"]', 'tags>\n  ["</parameter>"]  \n'),
        ('"five "', "count>\nfive \n"),
        ('""', "city>\n\n"),
        ('{"a": 1}', 'where>{"a": 1}'),
        ('"[1"', "tags>\n[1\n"),
        ('"x"', "other>\nx\n"),
    ],
)
def test_parameters_in_tags_are_read_by_their_schema(expected: str, value: str) -> None:
    text = f"<tool_call>\n<function=find>\n<parameter={value}</parameter>\n</function>\n</tool_call>"
    key = value.partition(">")[0]
    assert [("find", f'{{"{key}": {expected}}}')] == calls(parse(CODER, text, 1))


@pytest.mark.parametrize(
    ("expected", "value"),
    [
        ('"it\'s"', '"it\'s"'),
        ('"a\\n\\u0007\\"\\\\"', r"'a\n\a\"\\'"),
        ('"é€\\\\q"', r"'\xe9\u20AC\q'"),
        ('"a\'\\nb"', "'''a'\nb'''"),
        ('""', "''"),
        ('[1, [2.5, "x"], {"k": null, "2": false}]', "[1, (2.5, 'x',), {'k': None, 2: False}]"),
        ("31", "0x1F"),
        ("1000", "1_000"),
        ("0.5", ".5"),
        ("5", "+5"),
        ("[1]", "[1, ]"),
        ("[]", "[ ]"),
        ("{}", "{ }"),
        ('{"a": 1, "b": 2, "c": "3"}', "{'a': 1, \"b\": 2, c : '3'}"),
        ('{"X": "X"}', "{X: X}"),
        ("-31", "-31"),
        ("31", "0X1f"),
        ('"-1_000.5"', '"-1_000.5"'),
        ('".5e999"', ".5e999"),
        ("1" * 399, "+" + "1" * 399),
        (f'"+{"1" * 400}"', "+" + "1" * 400),
        ("[" * 64 + "1" + "]" * 64, "[" * 64 + "1" + "]" * 64),
        ('"soon"', "soon"),
    ],
)
def test_python_literals_are_read(expected: str, value: str) -> None:
    assert [("find", f'{{"where": {expected}, "tags": []}}')] == calls(
        parse(PYTHONIC, f"[find(where={value}, tags=[])]", 1)
    )


def test_a_bare_word_for_a_string_is_a_string() -> None:
    assert [("find", '{"city": "94110"}')] == calls(parse(PYTHONIC, "[find(city=94110)]"))


@pytest.mark.parametrize("left", ["x}", "[1", "{'a' 1}", "'a", "1 2"])
def test_malformed_arguments_end_where_they_went_wrong(left: str) -> None:
    text = f"[find(where={left}"
    assert parse(PYTHONIC, text) == parse(PYTHONIC, text, 1)
    assert ["find"] == [name for name, _ in calls(parse(PYTHONIC, text))]


@pytest.mark.parametrize(
    ("expected", "left"),
    [
        ('{"where": ', ", tags=[])]"),
        ('{"where": {', "{'a', tags=[])]"),
        ('{"where": {"a": ', "{'a': , 'b': 2})]"),
        ('{"where": [1', "[1 2], tags=[])]"),
        ('{"where": [1, {', "[1, {'a', 2], tags=[])]"),
        ('{"where": 1', "1 tags=[])]"),
        ('{"where": 1', "1, 2)]"),
        ('{"where": 1', "1, 'a)]"),
        ('{"where": "a', "'a"),
        ('{"where": "a\ufffd"', b"'a\xe2'"),
        ('{"where": ' + "[" * 65, "[" * 65 + "1" + "]" * 65 + ")]"),
    ],
)
def test_of_malformed_arguments_all_is_read_before_the_mistake(expected: str, left: str | bytes) -> None:
    text = b"[find(where=" + (left.encode() if isinstance(left, str) else left)
    pieces = parse(PYTHONIC, text, 1)
    assert ([("find", expected)], []) == (calls(pieces), [piece for piece in pieces if isinstance(piece, CallEnd)])


@pytest.mark.parametrize(
    ("expected", "body"),
    [
        ("{", b"<parameter=ci"),
        ("{", b"<parameter=city"),
        ('{"city": "Os', b"<parameter=city>\nOs"),
        ('{"city": "Os\ufffd"', b"<parameter=city>\nOs\xe2\n</parameter>"),
        ('{"city": "Os"', b"<parameter=city>\nOs\n</parameter>\n</func"),
        ('{"count": ', b"<parameter=count>\n5"),
        ('{"count": "\ufffd"', b"<parameter=count>\n\xe2\n</parameter>"),
    ],
)
def test_of_parameters_in_tags_that_are_cut_all_is_read_that_came(expected: str, body: bytes) -> None:
    pieces = parse(CODER, b"<tool_call>\n<function=find>\n" + body, 1)
    assert ([("find", expected)], []) == (calls(pieces), [piece for piece in pieces if isinstance(piece, CallEnd)])


def test_several_parameters_in_tags_are_one_object() -> None:
    parameters = "".join(
        f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in (("city", "Oslo"), ("count", 5))
    )
    text = f"<tool_call>\n<function=find>\n{parameters}</function>\n</tool_call>"
    pieces = parse(CODER, text, 1)
    assert [("find", '{"city": "Oslo", "count": 5}')] == calls(pieces)
    assert [CallEnd(0)] == [piece for piece in pieces if isinstance(piece, CallEnd)]


@pytest.mark.parametrize(
    ("expected", "written"),
    [
        ('{"a": 1}', b' {"a": 1}}'),
        ('{"a": 1}', b'"{\\"a\\": 1}"}'),
        ("é", b'"\\u00e9"}'),
        ("{}", b"null}"),
        ("nul", b"nul"),
        ('{"a": "\ufffd', b'{"a": "\xe2'),
        ('{"a": 1', b'{"a": 1'),
    ],
)
def test_arguments_of_json_are_passed_on_and_a_string_is_what_it_holds(expected: str, written: bytes) -> None:
    text = b'<tool_call>\n{"name": "find", "arguments": ' + written
    assert [("find", expected)] == calls(parse(HERMES, text, 1))


def test_literals_that_are_nested_too_deeply_are_malformed() -> None:
    text = f"[find(where={'[' * 5000}"
    assert ["find"] == [name for name, _ in calls(parse(PYTHONIC, text, 7))]


@pytest.mark.parametrize(("expected", "value"), [("5", "5"), ('"five"', "five"), ('"true"', "true"), ("-1", " -1 ")])
def test_a_parameter_that_may_be_a_string_is_one_unless_it_is_of_another_type_of_its_own(
    expected: str, value: str
) -> None:
    tools: dict[str, dict[str, Any] | None] = {"find": {"properties": {"size": {"type": ["string", "integer"]}}}}
    text = f"<tool_call>\n<function=find>\n<parameter=size>\n{value}\n</parameter>\n</function>\n</tool_call>"
    assert [("find", f'{{"size": {expected}}}')] == calls(parse(CODER, text, 1, tools=tools))


def test_a_string_may_end_like_the_start_of_what_ends_it() -> None:
    text = (
        '<｜DSML｜function_calls>\n<｜DSML｜invoke name="find">\n'
        '<｜DSML｜parameter name="city" string="true">1<</｜DSML｜parameter>\n'
        "</｜DSML｜invoke>\n</｜DSML｜function_calls>"
    )
    assert [("find", '{"city": "1<"}')] == calls(parse(TOOL_NOTATIONS["deepseek-dsml"], text, 1))


def test_a_notation_that_tells_strings_apart_is_believed() -> None:
    text = (
        '<｜DSML｜function_calls>\n<｜DSML｜invoke name="find">\n'
        '<｜DSML｜parameter name="count" string="true">1</｜DSML｜parameter>\n'
        '<｜DSML｜parameter name="city" string="false">1</｜DSML｜parameter>\n'
        "</｜DSML｜invoke>\n</｜DSML｜function_calls>"
    )
    assert [("find", '{"count": "1", "city": 1}')] == calls(parse(TOOL_NOTATIONS["deepseek-dsml"], text, 1))


def test_a_delimiter_without_escapes_ends_a_string() -> None:
    text = '<|tool_call>call:find{city:<|"|>a"\\<|"|>,where:{<|"|>k<|"|>:[1,true,<|"|>x<|"|>],b:null}}<tool_call|>'
    expected = '{"city": "a\\"\\\\", "where": {"k": [1, true, "x"], "b": null}}'
    assert [("find", expected)] == calls(parse(TOOL_NOTATIONS["gemma-4"], text, 1))
