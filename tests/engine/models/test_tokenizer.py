"""Both kinds of vocabulary in GGUF files: byte-level BPE (the bundled model) and SentencePiece (a tiny model)."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon.engine.models.bindings import EngineLoadError
from antiphon.engine.models.tokenizer import Tokenizer
from tests import vocabularies
from tests.engine.tiny_gguf import CHAT_TEMPLATE, vocabulary

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
UNSPELLABLE = "\x04\x06\x13\x14\x16\x1d"
"""The bundled vocabulary lacks tokens for these bytes, and for two bytes that begin characters of unassigned planes."""
SPELLABLE = st.text(
    st.characters(exclude_categories=["Cs"], max_codepoint=0x3FFFF, exclude_characters=UNSPELLABLE), max_size=60
)
FIXTURES = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def smollm2(smollm2_path: Path) -> Iterator[Tokenizer]:
    tokenizer = Tokenizer.open(str(smollm2_path))
    yield tokenizer
    tokenizer.close()


@pytest.fixture(scope="module")
def tiny(tiny_path: Path) -> Iterator[Tokenizer]:
    tokenizer = Tokenizer.open(str(tiny_path))
    yield tokenizer
    tokenizer.close()


@pytest.fixture(scope="module", params=vocabularies.MODELS)
def typed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tokenizer]:
    """Yield a vocabulary of each kind with tokens of every type."""
    path = tmp_path_factory.mktemp("vocabularies") / "model.gguf"
    tokenizer = Tokenizer.open(str(vocabularies.write_vocabulary(path, request.param)))
    yield tokenizer
    tokenizer.close()


def decode(tokenizer: Tokenizer, ids: list[int]) -> str:
    return b"".join(tokenizer.token_bytes(token_id) for token_id in ids).decode()


@given(SPELLABLE)
@FIXTURES
def test_byte_level_tokens_spell_the_text(smollm2: Tokenizer, text: str) -> None:
    ids = smollm2.encode(text)
    assert text == decode(smollm2, ids)


@given(TEXTS)
@FIXTURES
def test_no_text_is_encoded_to_control_tokens(smollm2: Tokenizer, text: str) -> None:
    assert not set(smollm2.encode(text + UNSPELLABLE)) & set(smollm2.special_tokens.values())


@given(TEXTS)
@FIXTURES
def test_sentence_pieces_spell_the_text_after_one_space(tiny: Tokenizer, text: str) -> None:
    """llama.cpp puts a space before a text, as in the training of such models."""
    assert (" " + text if text else "") == decode(tiny, tiny.encode(text))


@pytest.mark.parametrize("marker", ["<|im_start|>", "<|im_end|>", "<|endoftext|>"])
def test_text_of_a_control_token_becomes_the_token_only_with_parse_special(smollm2: Tokenizer, marker: str) -> None:
    token_id = smollm2.special_tokens[marker]
    assert [token_id] == smollm2.encode(marker, parse_special=True)
    typed = smollm2.encode(f"a {marker} b")
    assert token_id not in typed
    assert f"a {marker} b" == decode(smollm2, typed)


def test_text_of_a_control_token_becomes_the_sentence_piece_only_with_parse_special(tiny: Tokenizer) -> None:
    assert {1, 2} <= set(tiny.encode("x</s><s>", parse_special=True))
    assert not {1, 2} & set(tiny.encode("x</s><s>"))


def test_tokens_are_grouped_by_their_type(typed: Tokenizer) -> None:
    assert {"<unk>", *vocabularies.CONTROL} == typed.special_tokens.keys()
    assert {typed.special_tokens["<unk>"]} == typed.unknown_ids
    assert {*vocabularies.MARKERS, *vocabularies.PLAIN} == typed.user_defined_tokens.keys()


@pytest.mark.parametrize("marker", vocabularies.MARKERS)
def test_user_defined_token_is_found_in_every_text(typed: Tokenizer, marker: str) -> None:
    assert typed.user_defined_tokens[marker] in typed.encode(f"a{marker}b")
    assert marker.encode() == typed.token_bytes(typed.user_defined_tokens[marker])


@pytest.mark.parametrize("pre", vocabularies.PRE_TOKENIZERS)
def test_every_pre_tokenizer_spells_the_text(pre: str, tmp_path: Path) -> None:
    tokenizer = Tokenizer.open(str(vocabularies.write_vocabulary(tmp_path / "model.gguf", "gpt2", pre)))
    text = "Hello  the 12345 tool\n\n \t\tx's \u4e00\u9fa5 \U0001f9d9 <tool_call>é...</tool_call>\r\n"
    assert text == decode(tokenizer, tokenizer.encode(text))
    tokenizer.close()


def test_control_token_has_a_text_but_no_bytes(smollm2: Tokenizer, tiny: Tokenizer) -> None:
    for tokenizer in (smollm2, tiny):
        for text, token_id in tokenizer.special_tokens.items():
            assert b"" == tokenizer.token_bytes(token_id)
            assert text == tokenizer.token_text(token_id)


def test_every_token_but_control_tokens_has_bytes_and_a_text(smollm2: Tokenizer) -> None:
    control = set(smollm2.special_tokens.values())
    empty = {i for i in range(smollm2.n_vocab) if not smollm2.token_bytes(i)}
    assert empty == control
    single = {bytes([byte]) for byte in range(128)} & {smollm2.token_bytes(i) for i in range(smollm2.n_vocab)}
    assert {bytes([byte]) for byte in range(128) if chr(byte) not in UNSPELLABLE} == single
    assert all(smollm2.token_bytes(i).decode(errors="replace") == smollm2.token_text(i) for i in range(300, 2000))


def test_byte_tokens_of_sentence_pieces_have_their_byte(tiny: Tokenizer) -> None:
    assert [bytes([byte]) for byte in range(256)] == [tiny.token_bytes(3 + byte) for byte in range(256)]
    pieces = vocabulary()[259:]
    assert [text.replace("\u2581", " ").encode() for text, _ in pieces] == [
        tiny.token_bytes(259 + i) for i in range(len(pieces))
    ]


def test_bytes_of_a_character_are_split_over_several_tokens(smollm2: Tokenizer) -> None:
    ids = smollm2.encode("\U0001f9d9")
    assert len(ids) > 1
    assert "\U0001f9d9".encode() == b"".join(smollm2.token_bytes(token_id) for token_id in ids)


def test_attributes_of_the_bundled_vocabulary(smollm2: Tokenizer) -> None:
    assert (49152, "<|im_start|>", "<|im_end|>") == (smollm2.n_vocab, smollm2.bos_token, smollm2.eos_token)
    assert smollm2.special_tokens["<|im_end|>"] == smollm2.eos_id
    assert smollm2.eos_id in smollm2.eog_ids
    assert smollm2.chat_template is not None
    assert "im_start" in smollm2.chat_template
    assert smollm2.chat_template == smollm2.metadata["tokenizer.chat_template"]
    assert "llama" == smollm2.metadata["general.architecture"]


def test_attributes_of_the_tiny_vocabulary(tiny: Tokenizer) -> None:
    assert (len(vocabulary()), 1, 2, "<s>", "</s>") == (
        tiny.n_vocab,
        tiny.bos_id,
        tiny.eos_id,
        tiny.bos_token,
        tiny.eos_token,
    )
    assert tiny.add_bos
    assert {2} == tiny.eog_ids
    assert CHAT_TEMPLATE == tiny.chat_template


def test_add_special_adds_the_begin_token_of_the_vocabulary(tiny: Tokenizer, smollm2: Tokenizer) -> None:
    assert [1, *tiny.encode("the")] == tiny.encode("the", add_special=True)
    assert smollm2.encode("the") == smollm2.encode("the", add_special=True)


def test_empty_text_has_no_tokens(tiny: Tokenizer, smollm2: Tokenizer) -> None:
    assert ([], []) == (tiny.encode(""), smollm2.encode(""))


def test_long_text_is_encoded_whole(smollm2: Tokenizer) -> None:
    text = "\0 \n\t" + "word " * 5000
    assert text == decode(smollm2, smollm2.encode(text))


def test_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.gguf").write_text("no model")
    for path in (tmp_path / "text.gguf", tmp_path / "absent.gguf", tmp_path):
        with pytest.raises(EngineLoadError):
            Tokenizer.open(str(path))


def test_all_bytes_are_read_once(smollm2_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = Tokenizer.open(str(smollm2_path))
    tokenizer.read_all_bytes()
    monkeypatch.delattr(Tokenizer, "_piece")
    assert b"a" in {tokenizer.token_bytes(token_id) for token_id in range(tokenizer.n_vocab)}
    tokenizer.close()
