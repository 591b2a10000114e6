from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher

from antiphon.constraints.gbnf import GBNFError, lark_from_gbnf
from antiphon.constraints.json_schema.pattern_queries import byte_tokenizer

JSON = r"""
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::= "{" ws ( string ":" ws value ("," ws string ":" ws value)* )? "}" ws
array  ::= "[" ws ( value ("," ws value)* )? "]" ws
string ::= "\"" ( [^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) )* "\"" ws # escapes
number ::= "-"? ([0-9] | [1-9] [0-9]{0,15}) ("." [0-9]+)? ws
ws     ::= | " " | "\n" [ \t]{0,20}
"""


def admits(gbnf: str, text: str) -> bool:
    matcher = LLMatcher(byte_tokenizer(), lark_from_gbnf(gbnf), log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    data = list(text.encode())
    return matcher.try_consume_tokens(data) == len(data) and bool(matcher.is_accepting())


@pytest.mark.parametrize(
    ("gbnf", "admitted", "refused"),
    [
        ('root ::= "yes" | "no"', "yes", "ye"),
        ('root ::= [a-z]+ "x"', "abx", "abc"),
        ('root ::= "if" [0-9] | [a-z]{2,3}', "ift", "if"[:1]),
        ('root ::= [^\\n]* "\\n"', "ab&&\n", "ab"),
        ("root ::= [a&&b-]+", "a&-b", "c"),
        ("root ::= [\\]\\[^]+", "][^", "a"),
        ("root ::= [+-]", "-", ","),
        ('root ::= "\\x41\\u00e9\\U0001F600"', "Aé😀", "A"),
        ("root ::= [\\u0400-\\u04FF]", "ж", "a"),
        ('root ::= "a\\\\x41"', "a\\x41", "aA"),
        ("root ::= .", "\n", ""),
        ('root ::= some-rule | Some_Rule\nsome-rule ::= "1"\nSome_Rule ::= "2"', "2", "3"),
        ('root ::= ("a" |\n "b") # a comment\n', "b", "c"),
        ('root ::= "a"{2} | "b"{3,} | "c"?', "bbbb", "bb"),
        ('root ::= "(" root ")" | ""', "(())", "(()"),
    ],
)
def test_grammar_admits_the_texts_that_gbnf_says(gbnf: str, admitted: str, refused: str) -> None:
    assert [True, False] == [admits(gbnf, text) for text in (admitted, refused)]


@pytest.mark.parametrize("text", ['{"a": [1, 2.5, "x\\n"], "b": {}}', "{}", '{"é":true}'])
def test_json_grammar_of_llama_cpp_admits_json(text: str) -> None:
    assert admits(JSON, text)


@pytest.mark.parametrize("text", ["[]", '{"a": "\n"}', '{"a" 1}', "{"])
def test_json_grammar_of_llama_cpp_refuses_other_texts(text: str) -> None:
    assert not admits(JSON, text)


@pytest.mark.parametrize(
    ("gbnf", "reason"),
    [
        ("", "it has no rule 'root'"),
        ('x ::= "a"', "it has no rule 'root'"),
        ("root ::= x", "it has no rule 'x'"),
        ("root ::= []", "it has an empty character class"),
        ('root ::= "\\ud800"', "is not a character"),
        ('root ::= "\\U00110000"', "is not a character"),
        ("root ::= <think>", "it is not GBNF: Expected name"),
        ('root ::= "a', "it is not GBNF: Unexpected end"),
        ('root ::= "\\', "it ends inside an escape sequence"),
        ("root ::= " + "(" * 5000, "it nests too deeply"),
        ('root ::= "a"{²}', "a count of repetitions is no number"),
    ],
)
def test_text_that_cannot_be_translated_is_refused_with_the_reason(gbnf: str, reason: str) -> None:
    with pytest.raises(GBNFError, match=reason.replace("(", "[(]")):
        lark_from_gbnf(gbnf)


@cache
def literal(text: str) -> str:
    escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return '"' + "".join(escapes.get(each, each) for each in text) + '"'


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8), min_size=1, max_size=4))
def test_grammar_of_literals_admits_each_of_them(texts: list[str]) -> None:
    gbnf = f"root ::= {' | '.join(map(literal, texts))}"
    assert all(admits(gbnf, text) for text in texts)
