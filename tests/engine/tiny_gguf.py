"""A GGUF file of the llama architecture with a SentencePiece vocabulary and random weights. Its text is meaningless."""

from pathlib import Path

import gguf
import numpy as np

from tests.vocabularies import add_tokens

WIDTH, HEADS, FEED_FORWARD, LAYERS = 32, 2, 64, 2
CONTEXT = 512
PIECES = [
    "\u2581",
    "\u2581the",
    "\u2581a",
    "the",
    "th",
    "in",
    "ing",
    "er",
    *"abcdefghijklmnopqrstuvwxyz.,",
    "\u2581t",
    "he",
]
CHAT_TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


def write_tiny_model(
    path: Path,
    *,
    seed: int = 1,
    chat_template: str | None = CHAT_TEMPLATE,
    context: int = CONTEXT,
    pre: str | None = None,
) -> Path:
    """Write the model, about 100 kB, and return ``path``; ``pre`` gives it byte-level BPE with that pre-tokenizer."""
    writer = gguf.GGUFWriter(path, "llama")
    n_vocab = _add_vocabulary(writer) if pre is None else add_tokens(writer, "gpt2", pre)
    if chat_template is not None:
        writer.add_chat_template(chat_template)
    writer.add_context_length(context)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    _add_weights(writer, np.random.default_rng(seed), n_vocab)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def vocabulary() -> list[tuple[str, gguf.TokenType]]:
    """Unknown, begin, end, the 256 bytes, then pieces: an earlier piece wins a merge."""
    control = [("<unk>", gguf.TokenType.UNKNOWN), ("<s>", gguf.TokenType.CONTROL), ("</s>", gguf.TokenType.CONTROL)]
    bytes_ = [(f"<0x{byte:02X}>", gguf.TokenType.BYTE) for byte in range(256)]
    return control + bytes_ + [(piece, gguf.TokenType.NORMAL) for piece in PIECES]


def _add_vocabulary(writer: gguf.GGUFWriter) -> int:
    tokens = vocabulary()
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text for text, _ in tokens])
    writer.add_token_scores([-float(i) for i in range(len(tokens))])
    writer.add_token_types([kind for _, kind in tokens])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    return len(tokens)


def _add_weights(writer: gguf.GGUFWriter, rng: np.random.Generator, n_vocab: int) -> None:
    shapes = {"token_embd": (n_vocab, WIDTH), "output": (n_vocab, WIDTH), "output_norm": (WIDTH,)}
    for layer in range(LAYERS):
        shapes |= {
            f"blk.{layer}.attn_norm": (WIDTH,),
            f"blk.{layer}.ffn_norm": (WIDTH,),
            **{f"blk.{layer}.attn_{name}": (WIDTH, WIDTH) for name in ("q", "k", "v", "output")},
            f"blk.{layer}.ffn_gate": (FEED_FORWARD, WIDTH),
            f"blk.{layer}.ffn_up": (FEED_FORWARD, WIDTH),
            f"blk.{layer}.ffn_down": (WIDTH, FEED_FORWARD),
        }
    for name, shape in shapes.items():
        weights = rng.standard_normal(shape, dtype=np.float32) * np.float32(0.5 / np.sqrt(WIDTH) * 4)
        writer.add_tensor(f"{name}.weight", np.ones(shape, dtype=np.float32) if len(shape) == 1 else weights)
