# ruff: noqa: RUF001 (full-width bars are what the markers are written with)
import pytest

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


def test_literals_that_are_nested_too_deeply_are_malformed() -> None:
    text = f"[find(where={'[' * 5000}"
    assert ["find"] == [name for name, _ in calls(parse(PYTHONIC, text, 7))]


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
