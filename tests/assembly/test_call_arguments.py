# ruff: noqa: RUF001 (full-width bars are what the markers are written with)
from typing import Any

import pytest

from antiphon.chat_formats.chat_format import HERMES
from antiphon.chat_formats.tool_notations import TOOL_NOTATIONS
from tests.assembly.parsing import calls, content, parse

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
def test_parameters_in_tags_are_typed_by_their_schema(expected: str, value: str) -> None:
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
def test_python_literals_become_json(expected: str, value: str) -> None:
    assert [("find", f'{{"where": {expected}, "tags": []}}')] == calls(
        parse(PYTHONIC, f"[find(where={value}, tags=[])]", 1)
    )


def test_bare_number_for_an_undeclared_parameter_is_a_number() -> None:
    assert [("find", '{"size": 94110}')] == calls(parse(PYTHONIC, "[find(size=94110)]"))


def test_bare_word_for_a_string_is_a_string() -> None:
    assert [("find", '{"city": "94110"}')] == calls(parse(PYTHONIC, "[find(city=94110)]"))


@pytest.mark.parametrize("left", ["x}", "[1", "{'a' 1}", "'a", "1 2"])
def test_malformed_arguments_are_a_call_in_every_split(left: str) -> None:
    text = f"[find(where={left}"
    assert parse(PYTHONIC, text) == parse(PYTHONIC, text, 1)
    assert ["find"] == [name for name, _ in calls(parse(PYTHONIC, text))]


@pytest.mark.parametrize(
    ("expected", "left"),
    [
        ('{"where": ', ""),
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
def test_malformed_arguments_keep_everything_before_the_mistake(expected: str, left: str | bytes) -> None:
    text = b"[find(where=" + (left.encode() if isinstance(left, str) else left)
    assert [("find", expected)] == calls(parse(PYTHONIC, text, 1))


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
def test_truncated_parameters_in_tags_keep_everything_so_far(expected: str, body: bytes) -> None:
    assert [("find", expected)] == calls(parse(CODER, b"<tool_call>\n<function=find>\n" + body, 1))


def test_parameters_in_tags_become_one_object() -> None:
    parameters = "".join(
        f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in (("city", "Oslo"), ("count", 5))
    )
    text = f"<tool_call>\n<function=find>\n{parameters}</function>\n</tool_call>"
    assert [("find", '{"city": "Oslo", "count": 5}')] == calls(parse(CODER, text, 1))


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
def test_json_arguments_are_passed_on_and_a_json_string_is_decoded(expected: str, written: bytes) -> None:
    text = b'<tool_call>\n{"name": "find", "arguments": ' + written
    assert [("find", expected)] == calls(parse(HERMES, text, 1))


def test_call_after_malformed_arguments_is_content() -> None:
    pieces = parse(PYTHONIC, "[find(where=, find(count=1)]", 1)
    assert ([("find", '{"where": ')], ", find(count=1)]") == (calls(pieces), content(pieces))


def test_too_deeply_nested_literals_are_malformed() -> None:
    text = f"[find(where={'[' * 5000}"
    assert ["find"] == [name for name, _ in calls(parse(PYTHONIC, text, 7))]


@pytest.mark.parametrize(("expected", "value"), [("5", "5"), ('"five"', "five"), ('"true"', "true"), ("-1", " -1 ")])
def test_parameter_of_several_types_is_a_string_unless_it_has_another_of_them(expected: str, value: str) -> None:
    tools: dict[str, dict[str, Any] | None] = {"find": {"properties": {"size": {"type": ["string", "integer"]}}}}
    text = f"<tool_call>\n<function=find>\n<parameter=size>\n{value}\n</parameter>\n</function>\n</tool_call>"
    assert [("find", f'{{"size": {expected}}}')] == calls(parse(CODER, text, 1, tools=tools))


def test_string_may_end_with_the_start_of_its_end_tag() -> None:
    text = (
        '<｜DSML｜function_calls>\n<｜DSML｜invoke name="find">\n'
        '<｜DSML｜parameter name="city" string="true">1<</｜DSML｜parameter>\n'
        "</｜DSML｜invoke>\n</｜DSML｜function_calls>"
    )
    assert [("find", '{"city": "1<"}')] == calls(parse(TOOL_NOTATIONS["deepseek-dsml"], text, 1))


def test_tags_that_mark_strings_take_precedence_over_the_schema() -> None:
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
