"""A vocabulary of bytes and a few control tokens, for tests of prompts."""

import re
from collections.abc import Sequence

CONTROL_TEXTS = ("<|im_start|>", "<|im_end|>", "<s>", "</s>", "<|end|>", "<|", "[INST]", "[/INST]")


class ByteVocabulary:
    """Token ids 0-255 are bytes, control tokens come behind them."""

    def __init__(
        self, control_texts: Sequence[str] = CONTROL_TEXTS, *, add_bos: bool = False, merges: bool = False
    ) -> None:
        self.special_tokens = {text: 256 + i for i, text in enumerate(control_texts)}
        self.n_vocab = 256 + len(self.special_tokens)
        self.add_bos = add_bos
        self.bos_id = self.special_tokens.get("<s>")
        self.eog_ids = frozenset(self.special_tokens[text] for text in ("<|im_end|>", "</s>") if text in control_texts)
        self.longest_token = max([1, *(len(text.encode()) for text in control_texts)])
        self.merges = merges
        """Finds control tokens unasked, as a vocabulary whose merges lead to one."""
        self.encoded: list[str] = []

    def encode(self, text: str, *, parse_special: bool = False) -> list[int]:
        self.encoded.append(text)
        if not parse_special and not self.merges:
            return list(text.encode())
        texts = sorted(self.special_tokens, key=len, reverse=True)
        pieces = re.split("(" + "|".join(map(re.escape, texts)) + ")", text)
        return [i for piece in pieces for i in ([self.special_tokens[piece]] if piece in texts else piece.encode())]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text, control tokens as their texts."""
        texts = {token: text.encode() for text, token in self.special_tokens.items()}
        return b"".join(texts[i] if i in texts else bytes([i]) for i in ids).decode()

    def control(self, ids: Sequence[int]) -> list[str]:
        """Return the texts of the control tokens among ``ids``."""
        texts = {token: text for text, token in self.special_tokens.items()}
        return [texts[i] for i in ids if i in texts]
