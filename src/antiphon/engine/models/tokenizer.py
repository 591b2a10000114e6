"""Converts text to token ids and back with the vocabulary of a GGUF file, without its weights."""

import ctypes
from functools import cached_property
from itertools import repeat
from typing import Any, Final, Self

import llguidance

from antiphon.engine.models.bindings import EngineLoadError, eog_ids, llama_cpp, model_handle
from antiphon.engine.models.grammar_vocabulary import grammar_tokenizer

__all__ = ["EngineLoadError", "Tokenizer"]

_SPECIAL: Final = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL | llama_cpp.LLAMA_TOKEN_ATTR_UNKNOWN
_CHAT_TEMPLATE: Final = "tokenizer.chat_template"


class Tokenizer:
    """The vocabulary of one model. Safe to call from several threads: llama.cpp's vocabulary is immutable."""

    def __init__(self, model: Any, path: str) -> None:  # noqa: ANN401 (a ctypes handle)
        self.path = path
        self._model = model
        vocab = llama_cpp.llama_model_get_vocab(model)
        assert vocab is not None
        self._vocab = vocab
        self.n_vocab: int = llama_cpp.llama_vocab_n_tokens(vocab)
        self.add_bos: bool = llama_cpp.llama_vocab_get_add_bos(vocab)
        self.bos_id = _valid_id(llama_cpp.llama_vocab_bos(vocab))
        self.eos_id = _valid_id(llama_cpp.llama_vocab_eos(vocab))
        self.metadata = _metadata(model)
        self.chat_template: str | None = self.metadata.get(_CHAT_TEMPLATE) or None
        attributes = [*map(llama_cpp.llama_vocab_get_attr, repeat(vocab), range(self.n_vocab))]
        self._control = _ids_with(attributes, _SPECIAL)
        self._bytes: dict[int, bytes] = {}
        self.special_tokens = {self.token_text(i): i for i in sorted(self._control) if self.token_text(i)}
        """The ids of the control tokens by their text. Such text in a user's message does not become the token."""
        defined = _ids_with(attributes, llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED) - self._control
        self.user_defined_tokens = {self.token_text(i): i for i in sorted(defined) if self.token_text(i)}
        """The ids of the tokens that :meth:`encode` finds in every text, before all others, by their text."""
        self.unknown_ids = _ids_with(attributes, llama_cpp.LLAMA_TOKEN_ATTR_UNKNOWN)
        """The tokens for text that the vocabulary cannot write."""
        self.bos_token = "" if self.bos_id is None else self.token_text(self.bos_id)
        self.eos_token = "" if self.eos_id is None else self.token_text(self.eos_id)

    @classmethod
    def open(cls, path: str) -> Self:
        """Return the vocabulary of a GGUF file. Raises :class:`antiphon.engine.models.bindings.EngineLoadError`."""
        return cls(model_handle(path, vocab_only=True), path)

    @cached_property
    def eog_ids(self) -> frozenset[int]:
        """The tokens that end an answer. Computed when a grammar first needs them."""
        return eog_ids(self._vocab)

    @cached_property
    def longest_token(self) -> int:
        """Bytes of the longest token's text, or a little more. A text has at least its bytes over this as tokens."""
        texts = map(llama_cpp.llama_vocab_get_text, repeat(self._vocab), range(self.n_vocab))
        return max(map(len, texts), default=1)

    def grammar_tokenizer(self) -> llguidance.LLTokenizer:
        """Return the vocabulary for llguidance."""
        return grammar_tokenizer(self._vocab, self.eog_ids)

    def encode(self, text: str, *, parse_special: bool = False, add_special: bool = False) -> list[int]:
        """Return the token ids of ``text``.

        With ``parse_special`` the text of a control token becomes that token: never for a user's text. The text of a
        USER_DEFINED token always becomes that token. ``add_special`` adds the vocabulary's begin and end tokens.
        """
        raw = text.encode()
        capacity = len(raw) + 8
        ids = (llama_cpp.llama_token * capacity)()
        n = llama_cpp.llama_tokenize(self._vocab, raw, len(raw), ids, capacity, add_special, parse_special)
        if n < 0:
            ids = (llama_cpp.llama_token * -n)()
            n = llama_cpp.llama_tokenize(self._vocab, raw, len(raw), ids, -n, add_special, parse_special)
        assert n >= 0, f"llama_tokenize gave {n} for {len(raw)} bytes"
        return ids[:n]

    def token_bytes(self, token_id: int) -> bytes:
        """Return the bytes that a token adds to the text; none for control tokens."""
        known = self._bytes.get(token_id)
        if known is None:
            known = b"" if token_id in self._control else self._piece(token_id, special=False)
            self._bytes[token_id] = known
        return known

    def read_all_bytes(self) -> None:
        """Read the bytes of every token, so that :meth:`token_bytes` finds them in memory."""
        for token_id in range(self.n_vocab):
            self.token_bytes(token_id)

    def token_text(self, token_id: int) -> str:
        """Return a printable name; that of a control token is its text in templates (``<|im_end|>``)."""
        return self._piece(token_id, special=True).decode(errors="replace")

    def close(self) -> None:
        """Release the vocabulary; the object is unusable afterwards."""
        llama_cpp.llama_model_free(self._model)

    def _piece(self, token_id: int, *, special: bool) -> bytes:
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            n = llama_cpp.llama_token_to_piece(self._vocab, token_id, buffer, size, 0, special)
            if n >= 0:
                return buffer.raw[:n]
            size = -n


def _ids_with(attributes: list[int], wanted: int) -> frozenset[int]:
    return frozenset(i for i, attribute in enumerate(attributes) if attribute & wanted)


def _valid_id(token_id: int) -> int | None:
    return token_id if token_id >= 0 else None


def _metadata(model: Any) -> dict[str, str]:  # noqa: ANN401 (a ctypes handle)
    values = {}
    for i in range(llama_cpp.llama_model_meta_count(model)):
        key = _read_string(llama_cpp.llama_model_meta_key_by_index, model, i)
        values[key] = _read_string(llama_cpp.llama_model_meta_val_str_by_index, model, i)
    return values


def _read_string(read: Any, model: Any, index: int) -> str:  # noqa: ANN401 (ctypes functions)
    """Return a string of unknown length. ``read`` returns the length that the whole string needs."""
    size = 1 << 10
    while True:
        buffer = ctypes.create_string_buffer(size)
        length = read(model, index, buffer, size)
        if length < size:
            return buffer.raw[: max(0, length)].decode(errors="replace")
        size = length + 1
