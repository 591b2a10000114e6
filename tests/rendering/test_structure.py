# ruff: noqa: RUF001 (full-width bars are what some markers are written with)
"""The structure tokens of a vocabulary, and plain texts that are single tokens."""

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
def test_token_in_the_form_of_a_marker_is_structure(text: str) -> None:
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
def test_token_of_common_text_is_plain(text: str) -> None:
    assert [] == found(text)


@pytest.mark.parametrize("text", ["Human:", "<b>", "->"])
def test_token_in_the_template_is_structure(text: str) -> None:
    assert [text] == found(text, written=("x", f"a {text} b"))


@pytest.mark.parametrize("text", ["\n\n", "  ", "assistant", "0", ":"])
def test_whitespace_and_words_in_the_template_are_plain(text: str) -> None:
    assert [] == found(text, written=(f"a {text} b",))


def test_begin_and_end_tokens_are_structure_in_any_form() -> None:
    assert ["<s>", "</s>"] == found("<s>", "</s>", "<i>")


def test_normal_token_is_structure_if_it_is_a_marker_in_the_template() -> None:
    class Merging(ByteVocabulary):
        def encode(self, text: str, *, parse_special: bool = False) -> list[int]:
            ids = super().encode(text, parse_special=parse_special)
            return [*ids[: -len("<turn>")], 999] if text.endswith("<turn>") else ids

    assert {} == structure_tokens(Merging(()), ())
    assert {"<turn>": 999} == structure_tokens(Merging(()), ("x<turn><other>",))


def test_structure_of_real_vocabularies_is_control_tokens_and_markers(tokenizer: Tokenizer) -> None:
    structure = structure_tokens(tokenizer, ())
    assert {"<unk>", *vocabularies.CONTROL, *vocabularies.MARKERS} == structure.keys()
    assert {text: tokenizer.token_text(token) for text, token in structure.items()} == {
        text: text for text in structure
    }


@given(texts=st.lists(st.text("ab<|", min_size=1, max_size=5), min_size=1, max_size=9), text=st.text("ab<|"))
def test_alternation_matches_the_longest_text(texts: list[str], text: str) -> None:
    longest = "|".join(map(re.escape, sorted(texts, key=len, reverse=True)))
    assert re.findall(f"({longest})", text) == re.findall(f"({alternation(texts)})", text)


def test_alternation_writes_a_common_prefix_once() -> None:
    assert "<unused(?:1>|2(?:3>|>))|a" == alternation(["<unused1>", "<unused2>", "<unused23>", "a"])


def test_alternation_of_deeply_nested_prefixes_compiles() -> None:
    texts = ["a" * length for length in range(1, 200)]
    assert [texts[-1], "a"] == re.findall(f"({alternation(texts)})", "a" * 200)


def test_alternation_does_not_depend_on_the_order_of_texts() -> None:
    assert alternation(CONTROL_TEXTS) == alternation(reversed(CONTROL_TEXTS))
