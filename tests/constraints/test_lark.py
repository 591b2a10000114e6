import pytest

from antiphon.constraints.lark import ANY, Lark, Markers, Piece, alternatives, excluding, quoted, sequence
from tests.rendering.byte_vocabulary import ByteVocabulary
from tests.rendering.grammar_walk import Walker

CONTROL = ("<|im_end|>", "<tool_call>", "[TOOL_CALLS]", "</s>")
CALL, TOOL_CALLS = 257, 258


class Merging(ByteVocabulary):
    """A vocabulary in which ``<think>`` is always one token, as a user-defined token is."""

    def encode(self, text: str, *, parse_special: bool = False) -> list[int]:
        return [300] if text == "<think>" else super().encode(text, parse_special=parse_special)


@pytest.fixture
def markers() -> Markers:
    return Markers(Merging(CONTROL))


def test_text_is_split_at_special_tokens(markers: Markers) -> None:
    assert [Piece("<tool_call>", CALL), Piece("\n{")] == markers.split("<tool_call>\n{")
    assert [Piece("a"), Piece("[TOOL_CALLS]", TOOL_CALLS), Piece("[")] == markers.split("a[TOOL_CALLS][")
    assert [Piece("<think>", 300), Piece("</think>")] == markers.split("<think></think>")
    assert [] == markers.split("")


def test_literal_writes_text_quoted_and_tokens_by_id(markers: Markers) -> None:
    assert '<[257]> "\\n{\\"name\\": \\""' == markers.literal('<tool_call>\n{"name": "')
    assert "" == markers.literal("")
    assert '"\\u00e9\\u007f"' == quoted("é\x7f")


def test_trailing_end_of_generation_tokens_are_dropped(markers: Markers) -> None:
    assert "}" == markers.without_end_tokens("}</s><|im_end|>")
    assert "}</s>." == markers.without_end_tokens("}</s>.")


def test_alternatives_and_sequences_are_written() -> None:
    assert ('"a"', '("a" | "b")') == (alternatives(['"a"']), alternatives(['"a"', '"b"']))
    assert '"a" "b"' == sequence('"a"', "", '"b"')


def test_a_grammar_is_written_in_the_order_of_its_rules() -> None:
    lark = Lark()
    assert ("one", "TWO", "three") == (lark.rule("one", '"1"'), lark.terminal("two", ANY), lark.lazy("three", '"3"'))
    assert "one" == lark.rule("one", '"1"')
    assert 'start: one\none: "1"\nTWO: /(?s:.*)/\nthree[lazy]: "3"\n' == lark.text("one")


def test_two_definitions_of_one_name_are_an_error() -> None:
    lark = Lark()
    lark.rule("one", '"1"')
    with pytest.raises(AssertionError, match="one is defined as"):
        lark.rule("one", '"2"')


def test_nested_grammar_has_its_own_names() -> None:
    lark = Lark()
    inner = lark.grammar("inner", 'start: rule "."\nrule: "in"\n')
    text = lark.text(sequence(lark.rule("rule", '"out "'), inner))
    assert Walker().admits(text, "out in.")
    assert not Walker().admits(text, "out out .")


def test_excluded_texts_cannot_occur() -> None:
    walker = Walker()
    anywhere = f"start: TEXT\nTEXT: {excluding(ANY, ['ab', 'x'])}\n"
    assert [True, True, False, False] == [walker.admits(anywhere, text) for text in ("", "a\nb", "1ab2", "x")]
    first = f"start: TEXT\nTEXT: {excluding(ANY, ['ab'], before='/ */')}\n"
    assert [True, False, False] == [walker.admits(first, text) for text in ("1ab", "ab", "  ab")]


@pytest.mark.parametrize("special", [(), ("</x>",)])
def test_text_ends_at_its_first_marker(special: tuple[str, ...]) -> None:
    walker = Walker(special)
    lark = Lark()
    text = lark.text(walker.markers.until(lark, "text", ANY, "</x>!"))
    assert [True, True, False, False] == [walker.admits(text, t) for t in ("</x>!", "a<\n</x>!", "a", "a</x>?")]
