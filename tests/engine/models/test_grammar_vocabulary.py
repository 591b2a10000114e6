"""Tokens as llguidance reads them."""

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
def test_no_text_becomes_a_control_token_or_a_tag(tokens: list[bytes], text: str) -> None:
    assert (True, False) == (b"\xff" + text.encode() in tokens, text.encode() in tokens)


@pytest.mark.parametrize("text", [*PLAIN, *(text for text in MARKERS if not text.startswith("<")), "hello"])
def test_other_tokens_are_their_text(tokens: list[bytes], text: str) -> None:
    assert (False, True) == (b"\xff" + text.encode() in tokens, text.encode() in tokens)
