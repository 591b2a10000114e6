import time

import pytest

from antiphon.constraints.custom_tools import MAX_DEFINITION, callable_custom, custom_input
from antiphon.constraints.lark import Lark
from antiphon.errors import InvalidRequestError
from antiphon.protocol.tools import CustomToolDefinition, Grammar, GrammarFormat, TextFormat
from tests.rendering.grammar_walk import Walker

PARAM = "tools[3].custom.format.grammar.definition"


def definition(text: str, syntax: str = "lark") -> CustomToolDefinition:
    grammar = Grammar(definition=text, syntax="lark" if syntax == "lark" else "regex")
    return CustomToolDefinition(name="c", format=GrammarFormat(grammar=grammar))


def admits(tool: CustomToolDefinition, *texts: str) -> list[bool]:
    lark = Lark()
    grammar = lark.text(custom_input(lark, "custom", callable_custom(tool, "tools[3]")))
    return [Walker().admits(grammar, text) for text in texts]


def refusal(text: str, syntax: str = "lark") -> InvalidRequestError:
    with pytest.raises(InvalidRequestError) as caught:
        callable_custom(definition(text, syntax), "tools[3]")
    assert PARAM == caught.value.param
    return caught.value


@pytest.mark.parametrize("tool_format", [None, TextFormat()])
def test_tool_without_grammar_takes_any_text(tool_format: TextFormat | None) -> None:
    assert [True, True] == admits(CustomToolDefinition(name="c", format=tool_format), "", "any\n</tool_call>")


@pytest.mark.parametrize(
    ("regex", "good", "bad"),
    [
        (r"\d{4}/\d\d", "2026/11", "2026/1"),
        (r"^(?P<month>May|June)\s+\d{1,2}$", "May 4", "May"),
        ("a|b", "b", "ab"),
        ("a\nb#c", "a\nb#c", "ab"),
        ("[/]+", "//", ""),
    ],
)
def test_a_regular_expression_matches_the_whole_input(regex: str, good: str, bad: str) -> None:
    assert [True, False] == admits(definition(regex, "regex"), good, bad)


def test_lark_grammar_may_use_the_rule_names_of_the_answer_grammar() -> None:
    grammar = """
    // arithmetic, with names that the answer's own grammar has as well
    start: answer
    answer: answer OP TEXT | TEXT
    TEXT: /[0-9]+/
    OP: "+" | "<" | "@" | "%"
    %ignore " "
    """
    assert [True, True, False] == admits(definition(grammar), "1 + 2", "3<4@5%6", "1+")


def test_lark_grammar_may_import_common_terminals() -> None:
    assert [True, False] == admits(definition("%import common.INT\nstart: INT"), "12", "x")


@pytest.mark.parametrize(
    "text",
    [
        "start: <|im_end|>",
        "start: <[5]>",
        "start: @main",
        "start: %json {}",
        'start: %lark { start: "a" }',
        "%llguidance {}\nstart: /a/",
        "start: a\na[max_tokens=3]: /b*/",
        "start: a\na [temperature=0.1]: /b*/",
        "start: a::1\na::_: /b*/",
        "start: T\nT: /(a{97})*/ & /(a{101})*/ & /(a{103})*/ & /(a{107})*/",
    ],
)
def test_grammar_with_a_forbidden_construct_is_refused(text: str) -> None:
    assert "is not supported in a grammar." in refusal(text).message


@pytest.mark.parametrize(
    ("text", "syntax"),
    [
        ("start: (", "lark"),
        ("start: missing", "lark"),
        ("rule: /a/", "lark"),
        ("start: /a(?=b)/", "lark"),
        ("A.2: /a/\nstart: A", "lark"),
        ("(", "regex"),
        ("a)|(?:b", "regex"),
        ("a\\", "regex"),
        ("\\\\\\", "regex"),
        ("a(?!b)", "regex"),
        ("a^b", "regex"),
        (r"(a)\1", "regex"),
        (r"[^\s\S]", "regex"),
        ("", "regex"),
        ("x" * (MAX_DEFINITION + 1), "regex"),
    ],
)
def test_grammar_that_does_not_compile_is_refused(text: str, syntax: str) -> None:
    refusal(text, syntax)


@pytest.mark.parametrize(
    ("text", "syntax"),
    [
        ("(a{1000}){1000}", "regex"),
        ("((a{100}){100}){100}", "regex"),
        ("(?:a{500}?b){500,}", "regex"),
        ("(a{999})?{999}", "regex"),
        ("a{999999999999999999999}", "regex"),
        ("start: A{200}\nA: B{200}\nB: /a/", "lark"),
        ("start: A~1..200\nA: /a{200}/", "lark"),
    ],
)
def test_nested_repetitions_beyond_the_limit_are_refused_quickly(text: str, syntax: str) -> None:
    start = time.monotonic()
    assert "repetitions" in refusal(text, syntax).message
    assert time.monotonic() - start < 5


def test_rules_that_double_to_a_huge_text_are_refused() -> None:
    rules = [f"r{level}: r{level + 1} r{level + 1}" for level in range(24)]
    text = "\n".join(["start: r0", *rules, 'r24: "x"'])
    assert "requires more than 4096 literals." in refusal(text).message
    assert "requires more than 4096 literals." in refusal(text.replace("start: r0", 'start: "a" | r0')).message


def test_rules_that_double_to_a_long_text_are_enforced() -> None:
    rules = [f"r{level}: r{level + 1} r{level + 1}" for level in range(9)]
    text = "\n".join(["start: r0", *rules, 'r9: "x"'])
    assert [True, False] == admits(definition(text), "x" * 512, "x" * 511)


def test_repetitions_side_by_side_do_not_multiply() -> None:
    assert [True] == admits(
        definition(r"[a-z]{1,300}-[a-z{]{1,300}-\d{200}(x{9}|y{9}){9}", "regex"), "a-b-" + "1" * 200 + "y" * 81
    )
