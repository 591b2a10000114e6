"""Vocabularies without weights: GGUF files of every kind of tokenizer, each with tokens of every type.

A kind is named as llama.cpp names it: ``tokenizer.ggml.model``, and for byte-level BPE ``tokenizer.ggml.pre``, the rule
that splits a text before its merges. All kinds hold the same tokens of structure (``CONTROL`` and ``MARKERS``) and the
same plain ones (``PLAIN``), so that one test runs over all.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import gguf

Type = gguf.TokenType

CONTROL: Final = ("<s>", "</s>", "<|im_start|>", "<|im_end|>")
"""Texts of CONTROL tokens: llama.cpp takes them from a text only when it is asked to."""
MARKERS: Final = (
    "<tool_call>",
    "</tool_call>",
    "<|START_OF_TURN_TOKEN|>",
    "<|END_OF_TURN_TOKEN|>",
    "<|USER_TOKEN|>",
    "<|CHATBOT_TOKEN|>",
    "<|tool_call>",
    "<|channel>",
    "<|channel|>",
    "<|message|>",
    "<\uff5cUser\uff5c>",
    "<\uff5cAssistant\uff5c>",
    "[INST]",
    "[/INST]",
    "<think>",
    "</think>",
)
"""Texts of USER_DEFINED tokens that are structure: llama.cpp takes them from every text."""
PLAIN: Final = ("\n\n", "\n\n\n", "\t\t", "   ", "    ", "0", "1")
"""Texts of USER_DEFINED tokens that are no structure, as Gemma's runs of newlines are none."""
UNUSED: Final = ("<unused0>", "<unused1>")
WORDS: Final = ("the", "to", "tool", "im", "user", "in", "er", "a", "hello", "call")

MISSING: Final = "missing"
"""Stands for a file that names no pre-tokenizer: llama.cpp takes its default."""
PRE_TOKENIZERS: Final = (
    MISSING,
    "default",
    "afmoe",
    "bailingmoe",
    "bloom",
    "chameleon",
    "chatglm-bpe",
    "codeshell",
    "command-r",
    "dbrx",
    "deepseek-coder",
    "deepseek-llm",
    "deepseek-v3",
    "exaone",
    "exaone-moe",
    "exaone4",
    "falcon",
    "glm4",
    "gpt-2",
    "gpt-4o",
    "gpt3-finnish",
    "granite-docling",
    "granite-embed-multi-97m",
    "grok-2",
    "hunyuan",
    "hunyuan-dense",
    "hy_v4",
    "jais",
    "jais-2",
    "jina-v1-en",
    "joyai-llm",
    "kimi-k2",
    "laguna",
    "llama-bpe",
    "llama4",
    "megrez",
    "mellum2",
    "minerva-7b",
    "minicpm5",
    "minimax-m2",
    "mpt",
    "olmo",
    "poro-chat",
    "qwen2",
    "qwen35",
    "refact",
    "seed-coder",
    "smaug-bpe",
    "smollm",
    "solar-open",
    "spark2_5",
    "stablelm2",
    "starcoder",
    "superbpe",
    "tekken",
    "tiny_aya",
    "trillion",
    "ufakzeka",
    "viking",
    "youtu",
)
"""Of byte-level BPE: one name for each rule that the pinned llama.cpp knows."""
MODELS: Final = ("llama", "gpt2", "bert", "t5", "rwkv", "gemma4", "plamo2")
"""Values of ``tokenizer.ggml.model``: SPM, byte-level BPE, WPM, UGM, RWKV, BPE over characters, PLaMo-2."""
SPACE: Final = "\u2581"
"""How SentencePiece writes a space."""


class Token(NamedTuple):
    """An entry of a vocabulary, its text as the file holds it."""

    text: str
    kind: Type
    score: float


def write_vocabulary(
    path: Path,
    model: str = "gpt2",
    pre: str = "default",
    *,
    chat_template: str | None = None,
    markers: Sequence[str] = MARKERS,
    add_bos: bool = False,
    add_space: bool = True,
) -> Path:
    """Write the vocabulary of one kind, a few kilobytes, and return ``path``.

    ``markers`` are USER_DEFINED tokens. ``add_space``: a text of SentencePiece begins with a space.
    """
    writer = gguf.GGUFWriter(path, "llama")
    add_tokens(writer, model, pre, markers)
    writer.add_add_bos_token(add_bos)
    writer.add_add_eos_token(value=False)
    if model in ("llama", "t5"):
        writer.add_add_space_prefix(add_space)
    if chat_template is not None:
        writer.add_chat_template(chat_template)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def add_tokens(writer: gguf.GGUFWriter, model: str, pre: str, markers: Sequence[str] = MARKERS) -> int:
    """Add the tokens of one kind of vocabulary to a file, and return how many they are."""
    tokens = [*_tokens(model, markers)]
    writer.add_tokenizer_model(model)
    writer.add_token_list([token.text for token in tokens])
    writer.add_token_scores([token.score for token in tokens])
    writer.add_token_types([token.kind for token in tokens])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    if model in ("gpt2", "gemma4"):
        writer.add_token_merges([*_merges(model)])
    if model == "gpt2" and pre != MISSING:
        writer.add_tokenizer_pre(pre)
    return len(tokens)


@cache
def byte_characters() -> tuple[str, ...]:
    """Return the characters by which byte-level BPE writes the 256 bytes, as GPT-2 has them."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return tuple(chr(byte if byte in printable else 256 + others.index(byte)) for byte in range(256))


def _tokens(model: str, markers: Sequence[str]) -> Iterator[Token]:
    """Give the tokens in the order of their ids: unknown, control, markers, plain, unused, then those of all texts."""
    kinds = [
        (("<unk>",), Type.UNKNOWN),
        (CONTROL, Type.CONTROL),
        (markers, Type.USER_DEFINED),
        (PLAIN, Type.USER_DEFINED),
        (UNUSED, Type.UNUSED),
    ]
    defined = [(_escaped(text) if model == "rwkv" else text, kind) for texts, kind in kinds for text in texts]
    seen: set[str] = set()
    for text, kind in [*defined, *_texts(model)]:
        if text not in seen:
            yield Token(text, kind, -float(len(seen)))
        seen.add(text)


def _texts(model: str) -> Iterator[tuple[str, Type]]:
    """Give what any text is made of in a vocabulary of this kind."""
    ascii_characters = [chr(code) for code in range(0x21, 0x7F)]
    if model == "gpt2":
        yield from ((character, Type.NORMAL) for character in byte_characters())
        yield from ((merge.replace(" ", ""), Type.NORMAL) for merge in _merges(model))
    elif model == "rwkv":
        yield from ((f"\\x{byte:02x}", Type.NORMAL) for byte in range(256))
        yield from ((word, Type.NORMAL) for word in WORDS)
    else:
        # llama.cpp aborts on the bytes of a WPM vocabulary
        yield from ((f"<0x{byte:02X}>", Type.BYTE) for byte in range(256) if model != "bert")
        yield from ((merge.replace(" ", ""), Type.NORMAL) for merge in _merges(model))
        yield from ((character, Type.NORMAL) for character in [*ascii_characters, SPACE])
        yield from ((f"{SPACE}{character}", Type.NORMAL) for character in ascii_characters if model == "bert")


def _merges(model: str) -> Iterator[str]:
    """Give the pairs that lead from characters to the words, with and without a space before them."""
    space = byte_characters()[ord(" ")] if model == "gpt2" else SPACE
    seen = set()
    for word in (*WORDS, *(space + word for word in WORDS)):
        for end in range(1, len(word)):
            merge = f"{word[:end]} {word[end]}"
            if merge not in seen:
                seen.add(merge)
                yield merge


def _escaped(text: str) -> str:
    """Write a text as RWKV's vocabularies do."""
    return "".join(f"\\x{ord(character):02x}" if character <= " " else character for character in text)
