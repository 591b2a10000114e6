# ruff: noqa: RUF001 (full-width bars are what some markers are written with)
"""Which tokens are structure, and which are plain text that happens to be one token."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engine.models.tokenizer import Tokenizer
from antiphon.rendering.structure import alternation, structure_tokens
from tests import vocabularies
from tests.rendering.byte_vocabulary import CONTROL_TEXTS, ByteVocabulary


def found(*texts: str, written: tuple[str, ...] = ()) -> list[str]:
    return [*structure_tokens(ByteVocabulary((), user_defined=texts), written)]


@pytest.fixture(scope="module", params=["llama", "gpt2", "gemma4"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tokenizer]:
    folder: Path = tmp_path_factory.mktemp("vocabularies")
    opened = Tokenizer.open(str(vocabularies.write_vocabulary(folder / "all.gguf", request.param)))
    yield opened
    opened.close()


def test_control_tokens_are_structure() -> None:
    vocabulary = ByteVocabulary()
    assert vocabulary.special_tokens == structure_tokens(vocabulary, ())


@pytest.mark.parametrize(
    "text",
    [
        "<|START_OF_TURN_TOKEN|>",
        "<|CHATBOT_TOKEN|>",
        "<tool_call>",
        "</tool_call>",
        "<|tool_call>",
        "<tool_call|>",
        "<|channel>",
        "<|channel|>",
        "<｜User｜>",
        "｜DSML｜",
        "<start_of_turn>",
        "[INST]",
        "[/INST]",
        "◁think▷",
        "]<]minimax[>[",
        "[e~[",
        ">>ANSWER<<",
        "|||EMAIL_ADDRESS|||",
        "▁<PRE>",
        "<unused7>",
        "<image>",
        '<|"|>',
    ],
)
def test_what_looks_like_a_marker_is_structure(text: str) -> None:
    assert [text] == found(text)


@pytest.mark.parametrize(
    "text",
    [
        "\n",
        "\n\n\n",
        "\t\t",
        "    ",
        "▁▁",
        "0",
        "10",
        "<",
        "```",
        "---",
        "word",
        "two words",
        "don't",
        "<b>",
        "</table>",
    ],
)
def test_what_any_text_has_is_plain(text: str) -> None:
    assert [] == found(text)


@pytest.mark.parametrize("text", ["Human:", "<b>", "->"])
def test_what_the_template_writes_is_structure(text: str) -> None:
    assert [text] == found(text, written=("x", f"a {text} b"))


@pytest.mark.parametrize("text", ["\n\n", "  ", "assistant", "0", ":"])
def test_whitespace_and_words_are_plain_even_in_a_template(text: str) -> None:
    assert [] == found(text, written=(f"a {text} b",))


def test_what_begins_or_ends_is_structure_whatever_it_looks_like() -> None:
    assert ["<s>", "</s>"] == found("<s>", "</s>", "<i>")


def test_a_marker_of_another_type_is_structure_where_the_template_writes_it() -> None:
    class Merging(ByteVocabulary):
        def encode(self, text: str, *, parse_special: bool = False) -> list[int]:
            ids = super().encode(text, parse_special=parse_special)
            return [*ids[: -len("<turn>")], 999] if text.endswith("<turn>") else ids

    assert {} == structure_tokens(Merging(()), ())
    assert {"<turn>": 999} == structure_tokens(Merging(()), ("x<turn><other>",))


def test_every_type_of_token_is_told_apart(tokenizer: Tokenizer) -> None:
    structure = structure_tokens(tokenizer, ())
    assert {"<unk>", *vocabularies.CONTROL, *vocabularies.MARKERS} == structure.keys()
    assert {text: tokenizer.token_text(token) for text, token in structure.items()} == {
        text: text for text in structure
    }


@given(texts=st.lists(st.text("ab<|", min_size=1, max_size=5), min_size=1, max_size=9), text=st.text("ab<|"))
def test_the_longest_text_at_a_place_is_taken(texts: list[str], text: str) -> None:
    longest = "|".join(map(re.escape, sorted(texts, key=len, reverse=True)))
    assert re.findall(f"({longest})", text) == re.findall(f"({alternation(texts)})", text)


def test_a_common_beginning_is_tried_once() -> None:
    assert "<unused(?:1>|2(?:3>|>))|a" == alternation(["<unused1>", "<unused2>", "<unused23>", "a"])


def test_texts_inside_one_another_without_end_are_no_matter() -> None:
    texts = ["a" * length for length in range(1, 200)]
    assert [texts[-1], "a"] == re.findall(f"({alternation(texts)})", "a" * 200)


def test_the_order_of_the_texts_is_no_matter() -> None:
    assert alternation(CONTROL_TEXTS) == alternation(reversed(CONTROL_TEXTS))
