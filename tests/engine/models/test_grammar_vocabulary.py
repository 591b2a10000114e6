"""The tokens of a vocabulary for llguidance."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from antiphon.engine.models.grammar_vocabulary import grammar_tokens
from antiphon.engine.models.tokenizer import Tokenizer
from tests.vocabularies import CONTROL, MARKERS, PLAIN, write_vocabulary


@pytest.fixture
def tokens(tmp_path: Path) -> Iterator[list[bytes]]:
    tokenizer = Tokenizer.open(str(write_vocabulary(tmp_path / "vocabulary.gguf")))
    yield grammar_tokens(tokenizer._vocab)
    tokenizer.close()


@pytest.mark.parametrize("text", [*CONTROL, "<tool_call>", "<|channel|>"])
def test_control_tokens_and_tags_begin_with_a_byte_that_no_text_contains(tokens: list[bytes], text: str) -> None:
    assert (True, False) == (b"\xff" + text.encode() in tokens, text.encode() in tokens)


@pytest.mark.parametrize("text", [*PLAIN, *(text for text in MARKERS if not text.startswith("<")), "hello"])
def test_other_tokens_are_given_as_their_text(tokens: list[bytes], text: str) -> None:
    assert (False, True) == (b"\xff" + text.encode() in tokens, text.encode() in tokens)
