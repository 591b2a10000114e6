"""Converts a vocabulary of llama.cpp for llguidance."""

import ctypes
from collections.abc import Collection
from typing import Any, Final

import llguidance

from antiphon.engine.models.bindings import llama_cpp

LONGEST_TOKEN: Final = 16_384
"""Bytes of a token's text, at most."""


def grammar_tokenizer(vocab: Any, eog_ids: Collection[int]) -> llguidance.LLTokenizer:  # noqa: ANN401 (a ctypes handle)
    """Return the vocabulary for llguidance, in about 0.2 s. The model must stay loaded."""
    made: llguidance.LLTokenizer = llguidance.LLTokenizer.from_llamacpp(  # type: ignore[attr-defined]  # no stub
        tokens=grammar_tokens(vocab),
        vocab_ptr=vocab,
        tokenize_fptr=ctypes.cast(llama_cpp.llama_cpp._lib.llama_tokenize, ctypes.c_void_p).value,  # noqa: SLF001
        eos_token=sorted(eog_ids),
        slices=None,
    )
    return made


def grammar_tokens(vocab: Any) -> list[bytes]:  # noqa: ANN401 (a ctypes handle)
    """Return the bytes of every token for llguidance. Control tokens begin with 0xFF, which no text contains."""
    buffer = ctypes.create_string_buffer(LONGEST_TOKEN)
    control = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL
    user_defined = llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED
    tokens = []
    for token_id in range(llama_cpp.llama_vocab_n_tokens(vocab)):
        length = llama_cpp.llama_token_to_piece(vocab, token_id, buffer, LONGEST_TOKEN, 0, True)  # noqa: FBT003
        assert length >= 0, f"token {token_id} takes {-length} bytes"
        text = ctypes.string_at(buffer, length)
        attributes = llama_cpp.llama_vocab_get_attr(vocab, token_id)
        tagged = attributes & user_defined and text.startswith(b"<") and text.endswith(b">")
        tokens.append(b"\xff" + text if attributes & control or tagged else text)
    return tokens
