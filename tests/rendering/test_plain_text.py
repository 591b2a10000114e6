"""No text gives structure tokens, and every text keeps its characters, in real vocabularies of every kind."""

import time
import unicodedata
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon.engine.models.tokenizer import Tokenizer
from antiphon.rendering.plain_text import PlainText
from antiphon.rendering.structure import structure_tokens
from tests import vocabularies
from tests.rendering.byte_vocabulary import ByteVocabulary

SPELLING = ("llama", "gpt2", "rwkv", "gemma4", "plamo2")
"""Kinds of vocabulary that can represent every text; the others drop or change characters.

If SentencePiece adds a space before a text, llama.cpp also adds one after a USER_DEFINED token."""
MARKERS = (*vocabularies.CONTROL, *vocabularies.MARKERS)
FIXTURES = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
piece = st.builds(
    lambda text, begin, end: text[begin:] + text[:end], st.sampled_from(MARKERS), st.integers(0, 9), st.integers(0, 9)
)
glue = st.sampled_from([" ", "  ", "\n", "the", " tool", "é", "<", "|>", "\u2581", "\uff5c"])
texts = st.lists(st.sampled_from(MARKERS) | piece | glue, max_size=8).map("".join)


def plain_text(vocabulary: Tokenizer | ByteVocabulary) -> PlainText:
    return PlainText(vocabulary, structure_tokens(vocabulary, ()))


def structure_ids(tokenizer: Tokenizer) -> set[int]:
    return {*structure_tokens(tokenizer, ()).values()} - tokenizer.unknown_ids


def decoded(tokenizer: Tokenizer, ids: list[int]) -> str:
    return b"".join(map(tokenizer.token_bytes, ids)).decode()


@pytest.fixture(scope="module", params=[*vocabularies.MODELS, "llama without a space"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tokenizer]:
    model, _, without = request.param.partition(" ")
    path = tmp_path_factory.mktemp("vocabularies") / "model.gguf"
    opened = Tokenizer.open(str(vocabularies.write_vocabulary(path, model, add_space=not without)))
    yield opened
    opened.close()


@pytest.mark.parametrize("marker", MARKERS)
def test_marker_in_a_text_gives_no_structure(tokenizer: Tokenizer, marker: str) -> None:
    assert structure_ids(tokenizer).isdisjoint(plain_text(tokenizer).encode(f"a{marker}b {marker}{marker}"))


@given(text=texts)
@FIXTURES
def test_any_text_gives_no_structure(tokenizer: Tokenizer, text: str) -> None:
    assert structure_ids(tokenizer).isdisjoint(plain_text(tokenizer).encode(text))


@given(text=texts)
@FIXTURES
def test_ids_decode_to_the_text(tokenizer: Tokenizer, text: str) -> None:
    model = tokenizer.metadata["tokenizer.ggml.model"]
    spaced = tokenizer.metadata.get("tokenizer.ggml.add_space_prefix") == "true"
    if model in SPELLING and not (spaced and any(plain in text for plain in vocabularies.PLAIN)):
        written = text.replace("\u2581", " ") if model in ("llama", "gemma4") else text
        expected = " " + written if spaced and text else written
        assert expected == decoded(tokenizer, plain_text(tokenizer).encode(text).tolist())


@pytest.mark.parametrize("pre", vocabularies.PRE_TOKENIZERS)
def test_markers_are_text_with_every_pre_tokenizer(pre: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("vocabularies") / "model.gguf"
    tokenizer = Tokenizer.open(str(vocabularies.write_vocabulary(path, "gpt2", pre)))
    text = "\n the".join(MARKERS) + "".join(MARKERS) + " ".join(MARKERS)
    ids = plain_text(tokenizer).encode(text).tolist()
    assert structure_ids(tokenizer).isdisjoint(ids)
    assert text == decoded(tokenizer, ids)
    tokenizer.close()


@given(text=st.lists(st.sampled_from([*MARKERS, *vocabularies.PLAIN]) | glue, max_size=9).map("".join))
@FIXTURES
def test_tokens_of_a_long_text_are_those_of_the_tokenizer(tokenizer: Tokenizer, text: str) -> None:
    long = f"{text}a" * 40
    assert tokenizer.encode(long) == plain_text(tokenizer).tokens(long)


def test_time_does_not_grow_with_the_square_of_user_defined_tokens(tokenizer: Tokenizer) -> None:
    """A single call for the whole text would take a minute."""
    text = "a\n\n<think>" * 20_000
    began = time.monotonic()
    assert 60_000 < len(plain_text(tokenizer).encode(text))
    assert 40_000 < len(plain_text(tokenizer).tokens(text))
    assert 30 > time.monotonic() - began


def test_plain_user_defined_tokens_are_kept(tokenizer: Tokenizer) -> None:
    text = "the\n\ntool\t\tin    a\n\n\n10"
    assert tokenizer.encode(text) == plain_text(tokenizer).encode(text).tolist()
    defined = {tokenizer.user_defined_tokens[plain] for plain in ("\n\n", "\t\t", "    ", "\n\n\n", "1", "0")}
    if tokenizer.metadata["tokenizer.ggml.model"] != "rwkv":
        assert defined <= {*tokenizer.encode(text)}


def test_piece_inside_a_text_gets_no_space(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("vocabularies") / "model.gguf"
    tokenizer = Tokenizer.open(str(vocabularies.write_vocabulary(path, "llama")))
    ids = plain_text(tokenizer).encode("a<think>the").tolist()
    assert [" a", "<", "th", "in", "k", ">", "the"] == [tokenizer.token_text(token) for token in ids]
    tokenizer.close()


def test_piece_with_a_normalised_marker_is_halved() -> None:
    class Normalising(ByteVocabulary):
        def encode(self, text: str, *, parse_special: bool = False) -> list[int]:
            return super().encode(unicodedata.normalize("NFKC", text), parse_special=parse_special)

    vocabulary = Normalising((), user_defined=["<turn>"])
    assert "a<turn>b" == vocabulary.decode(plain_text(vocabulary).encode("a\uff1cturn\uff1eb"))
    assert [] == vocabulary.control(plain_text(vocabulary).encode("a\uff1cturn\uff1eb"))


def test_single_character_that_is_structure_is_dropped() -> None:
    vocabulary = ByteVocabulary(["\u2551"], merges=True)
    assert "ab" == vocabulary.decode(plain_text(vocabulary).encode("a\u2551b"))


def test_overlapping_markers_are_text() -> None:
    vocabulary = ByteVocabulary((), user_defined=["<|abc|>", "|>b<|"])
    ids = plain_text(vocabulary).encode("<|abc|>b<|")
    assert ("<|abc|>b<|", []) == (vocabulary.decode(ids), vocabulary.control(ids))


def test_repeated_piece_is_tokenized_once() -> None:
    vocabulary = ByteVocabulary((), user_defined=["<turn>"])
    encoder = plain_text(vocabulary)
    begin = len(vocabulary.encoded)
    ids = encoder.encode("<turn>" * 1000)
    assert "<turn>" * 1000 == vocabulary.decode(ids)
    assert 5 > len(vocabulary.encoded) - begin
