"""A vocabulary of bytes and a few control tokens, for tests of prompts."""

import re
from collections.abc import Sequence

CONTROL_TEXTS = ("<|im_start|>", "<|im_end|>", "<s>", "</s>", "<|end|>", "<|", "[INST]", "[/INST]")


class ByteVocabulary:
    """A tokenizer of bytes, ids 0-255, then control tokens, then USER_DEFINED tokens."""

    def __init__(
        self,
        control_texts: Sequence[str] = CONTROL_TEXTS,
        *,
        user_defined: Sequence[str] = (),
        add_bos: bool = False,
        merges: bool = False,
    ) -> None:
        self.special_tokens = {text: 256 + i for i, text in enumerate(control_texts)}
        self.user_defined_tokens = {text: 256 + len(control_texts) + i for i, text in enumerate(user_defined)}
        self.tokens = {**self.special_tokens, **self.user_defined_tokens}
        self.unknown_ids: frozenset[int] = frozenset()
        self.n_vocab = 256 + len(self.tokens)
        self.add_bos = add_bos
        self.bos_id = self.tokens.get("<s>")
        self.eog_ids = frozenset(self.tokens[text] for text in ("<|im_end|>", "</s>") if text in self.tokens)
        self.longest_token = max([1, *(len(text.encode()) for text in self.tokens)])
        self.merges = merges
        """Whether plain text may give control tokens, as in a vocabulary whose merges lead to one."""
        self.encoded: list[str] = []

    def encode(self, text: str, *, parse_special: bool = False) -> list[int]:
        self.encoded.append(text)
        found = self.tokens if parse_special or self.merges else self.user_defined_tokens
        if not found:
            return list(text.encode())
        texts = sorted(found, key=len, reverse=True)
        pieces = re.split("(" + "|".join(map(re.escape, texts)) + ")", text)
        return [i for piece in pieces for i in ([found[piece]] if piece in found else piece.encode())]

    def token_bytes(self, token_id: int) -> bytes:
        """Return the byte of a token, nothing for a control token."""
        return bytes([token_id]) if token_id < 256 else b""

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text, control tokens as their texts."""
        texts = {token: text.encode() for text, token in self.tokens.items()}
        return b"".join(texts[i] if i in texts else bytes([i]) for i in ids).decode()

    def control(self, ids: Sequence[int]) -> list[str]:
        """Return the texts of the tokens among ``ids`` that are more than a byte."""
        texts = {token: text for text, token in self.tokens.items()}
        return [texts[i] for i in ids if i in texts]
